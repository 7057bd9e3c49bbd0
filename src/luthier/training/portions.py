"""The rows of each optimiser step, cut into micro-batches as finely as memory asks for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from luthier.tasks import Batch
from luthier.training.order import Order
from luthier.training.settings import Training

Rows = Int[ndarray, " rows"]

Collate = Callable[[Rows], Batch]

Portion = Callable[[int], Sequence[Batch]]
"""What one step learns from: its micro-batches, each cut into so many parts; a single row is never cut."""


def portions(
    order: Order, settings: Training, collate: Collate, *, after: int, is_flat: bool = False
) -> Iterator[Portion]:
    """The portion of every step that follows this one; neighbours in length stay together.

    `is_flat` says that no padding is computed.
    """
    for numbers in order.after(after):
        yield partial(_micro_batches, collate, _cut(order, settings, numbers, is_flat))


def _micro_batches(collate: Collate, pieces: Sequence[Rows], num_parts: int) -> list[Batch]:
    """Of each piece as many as asked for, or one a row."""
    return [collate(part) for piece in pieces for part in np.array_split(piece, min(num_parts, len(piece)))]


def _cut(order: Order, settings: Training, numbers: Rows, is_flat: bool) -> list[Rows]:
    """As few micro-batches as the settings' bounds allow."""
    tokens, rows = settings.micro_batch_tokens, settings.micro_batch_size
    assert tokens != "auto" and rows != "auto", "settings must be resolved before training"
    batch_size = rows or order.batching.batch_size
    micro = replace(order.batching, batch_tokens=tokens, batch_size=batch_size, is_flat=is_flat)
    parts = np.array_split(numbers, min(settings.accumulation, len(numbers)))
    return [piece for part in parts for piece in micro.cut(part)]
