"""How much memory a device has left, how it says that there is none, and how memory is given back to it."""

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Int
from numpy import ndarray

from luthier.models import heap

Answer = TypeVar("Answer")

SAID = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)
"""What torch says where its error is no OutOfMemoryError."""


def ran_out(error: BaseException) -> bool:
    """Whether an error means that memory ran out."""
    is_named = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return is_named or (isinstance(error, RuntimeError) and any(words in str(error) for words in SAID))


def in_halves(rows: Int[ndarray, " rows"], compute: Callable[[Int[ndarray, " part"]], list[Answer]]) -> list[Answer]:
    """What is computed of rows, one answer a row; where memory runs out, of each half by itself.

    Raises MemoryError where not even a single row fits.
    """
    try:
        return compute(rows)
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        if len(rows) == 1:
            raise MemoryError(str(error)) from error
    give_back()  # only here is the error gone, and with it what it held
    middle = len(rows) // 2
    return [*in_halves(rows[:middle], compute), *in_halves(rows[middle:], compute)]


def give_back() -> None:
    """Free what nothing refers to any more, and what torch holds in reserve."""
    gc.collect()
    heap.give_back()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def available(device: str) -> int | None:
    """Bytes that a new program may take on a device; None where the system does not tell.

    On a GPU what is free, on a machine what Linux says is available, within the limit of a container.
    """
    if device == "cuda":
        free, _ = torch.cuda.mem_get_info()
        return int(free)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return _physical()
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    there = int(told["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in told else _physical()
    limit = _container_room()
    return there if limit is None or there is None else min(there, limit)


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _container_room() -> int | None:
    """What is left below the limit of a Linux control group, caches of files not counted; None where there is none."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, taken = ((group / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current"))
        told = dict(line.split(" ", 1) for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    except OSError:
        return None
    return int(limit) - int(taken) + int(told["inactive_file"]) if limit.isdigit() else None
