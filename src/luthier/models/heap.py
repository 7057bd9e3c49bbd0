"""Memory that is freed in one step stays with the process for the next one, where glibc gives it out.

A step frees and asks for the same tensors again and again. glibc hands what is free at the heap's end, and whatever is
larger than 32 MiB, back to the system at once, which must then fill it with zeros anew, page by page: 2 to 5 % of a
step on a CPU. https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""What `mallopt` calls the free bytes at the heap's end that are kept, and the size from which a block is no part of
the heap."""
MOST = 2**31 - 1
USUAL = {MMAP_THRESHOLD: 32 * 2**20, TRIM_THRESHOLD: 64 * 2**20}
"""The most that glibc comes to by itself."""
CHOSEN_BY_USERS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep() -> None:
    """From now on memory that is freed stays, until a run ends.

    Nothing changes where the C library is another one, or where a user told glibc what to keep.
    """
    _set({what: MOST for what in USUAL})


@contextmanager
def given_back() -> Iterator[None]:
    """Afterwards memory that is freed stays no longer, and what was kept is given back."""
    try:
        yield
    finally:
        _set(USUAL)
        give_back()


def give_back() -> None:
    """Give what is free back to the system, wherever it lies."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _set(values: Mapping[int, int]) -> None:
    libc = _glibc()
    if libc is not None and not any(name in os.environ for name in CHOSEN_BY_USERS):
        for what, value in values.items():
            libc.mallopt(what, value)


@cache
def _glibc() -> Any:
    """The C library, if it is glibc."""
    try:
        libc = ctypes.CDLL(None)
        return libc if all(hasattr(libc, name) for name in ("gnu_get_libc_version", "mallopt", "malloc_trim")) else None
    except (OSError, TypeError):
        return None
