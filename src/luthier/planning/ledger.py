"""A ledger of memory: which storage lived when, and what it was for.

Every storage is an entry with a size, a beginning and an end. What an entry is for may be said at any time, as a
gradient is known for one only when it hangs on its parameter; the peak and its parts are worked out at the end.
"""

import weakref
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

Part = Literal["weights", "gradients", "optimizer", "activations", "logits", "inputs"]
PARTS: tuple[Part, ...] = get_args(Part)
"""What memory is for; activations are whatever is nothing else."""


class Ledger:
    """What was allocated and freed, in order."""

    def __init__(self) -> None:
        self._entries: weakref.WeakKeyDictionary[torch.UntypedStorage, int] = weakref.WeakKeyDictionary()
        self._parts: list[Part] = []
        self._moves: list[tuple[int, int]] = []

    def enter(self, tensor: Tensor, part: Part = "activations") -> None:
        """Note a tensor's storage, where it is new."""
        storage = tensor.untyped_storage()
        if storage in self._entries:
            return
        size, number = storage.nbytes(), len(self._parts)
        self._entries[storage] = number
        self._parts.append(part)
        self._moves.append((number, size))
        weakref.finalize(storage, self._moves.append, (number, -size)).atexit = False

    def part_of(self, tensor: Tensor) -> Part | None:
        """What a tensor is for; None where it was never entered."""
        number = self._entries.get(tensor.untyped_storage())
        return None if number is None else self._parts[number]

    def say(self, tensor: Tensor, part: Part) -> None:
        """Tell what a tensor is for, which it has been for from its beginning."""
        self.enter(tensor, part)
        self._parts[self._entries[tensor.untyped_storage()]] = part

    def now(self) -> int:
        """A mark between two moves."""
        return len(self._moves)

    def peak(self, *, since: int = 0, until: int | None = None) -> Mapping[Part, int]:
        """Bytes of each part at the moment, between two marks, when most is taken."""
        numbers, sizes = np.array(self._moves[:until], dtype=np.int64).T
        taken = np.cumsum(sizes)[max(0, since - 1) :]
        end = max(0, since - 1) + int(np.argmax(taken)) + 1
        codes = np.array([PARTS.index(part) for part in self._parts])
        sums = np.bincount(codes[numbers[:end]], weights=sizes[:end], minlength=len(PARTS))
        return {part: int(amount) for part, amount in zip(PARTS, sums, strict=True)}


def total(parts: Mapping[Part, int]) -> int:
    """Bytes of all parts."""
    return sum(parts.values())


def largest(parts: Iterable[Mapping[Part, int]]) -> Mapping[Part, int]:
    """Of several moments the one when most is taken."""
    return max(parts, key=total)
