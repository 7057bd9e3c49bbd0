"""A step's rows in micro-batches: within every bound, each row once, and finer where it is asked for."""

from typing import Any

import numpy as np
import pytest

from luthier.component import Facts
from luthier.training.order import Order
from luthier.training.portions import portions
from luthier.training.settings import Training

LENGTHS = np.random.default_rng(0).integers(3, 60, size=48)


def first(num_parts: int = 1, **given: Any) -> list[list[int]]:
    """The row numbers of the first step's micro-batches."""
    asked = Training.model_validate({"batch_size": 16, "micro_batch_tokens": None, **given}).resolve(
        Facts(learning_rate=1.0)
    )
    order = Order.plan(LENGTHS, asked)
    portion = next(portions(order, asked, lambda numbers: numbers.tolist(), after=0))  # type: ignore[arg-type,return-value]
    return portion(num_parts)  # type: ignore[return-value]


@pytest.mark.parametrize("num_parts", [1, 2, 4, 64])
@pytest.mark.parametrize("given", [{}, {"micro_batch_size": 5}, {"micro_batch_tokens": 100}, {"accumulation": 3}])
def test_every_row_is_computed_once_and_in_the_same_order(given: dict[str, Any], num_parts: int) -> None:
    pieces = first(num_parts, **given)
    assert [number for piece in pieces for number in piece] == first()[0]


@pytest.mark.parametrize("given", [{}, {"accumulation": 3}, {"micro_batch_tokens": 300}])
def test_no_micro_batch_has_more_rows_than_asked_for(given: dict[str, Any]) -> None:
    assert max(map(len, first(micro_batch_size=3, **given))) <= 3


def test_both_bounds_hold_at_once() -> None:
    pieces = first(micro_batch_size=6, micro_batch_tokens=150)
    assert all(len(piece) <= 6 and len(piece) * LENGTHS[piece].max() <= 150 for piece in pieces)


def test_auto_bounds_no_rows() -> None:
    assert len(first(micro_batch_size="auto")) == 1


def test_micro_batches_are_halved_down_to_single_rows() -> None:
    sizes = [[len(piece) for piece in first(num_parts, micro_batch_size=8)] for num_parts in (1, 2, 4, 8, 16)]
    assert sizes == [[8] * 2, [4] * 4, [2] * 8, [1] * 16, [1] * 16]
