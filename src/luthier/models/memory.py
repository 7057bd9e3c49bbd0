"""How a device says that it has no memory left, and how memory is given back to it."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Int
from numpy import ndarray

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
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
