"""Which rows each step learns from: how many steps there are, and that each can be told without the ones before."""

from itertools import islice
from typing import Any

import numpy as np
import pytest

from luthier.data.batching import Batching
from luthier.training.order import Order
from tests.training.courses import settings

FIVE_A_EPOCH = np.full(50, 7)


@pytest.mark.parametrize(
    ("given", "num_steps"),
    [
        ({"epochs": 1}, 5),
        ({"epochs": 3}, 15),
        ({"epochs": 1.2}, 6),
        ({"epochs": 2.5}, 12),
        ({"epochs": 0.4}, 2),
        ({"epochs": 0.01}, 1),
        ({"epochs": 1.01}, 6),
        ({"steps": 1}, 1),
        ({"steps": 7}, 7),
        ({"steps": 10}, 10),
        ({}, 15),
    ],
)
def test_steps_are_counted_from_epochs(given: dict[str, Any], num_steps: int) -> None:
    assert Order.plan(FIVE_A_EPOCH, settings(batch_size=10, **given)).num_steps == num_steps


@pytest.mark.parametrize("given", [{"epochs": 2.4}, {"steps": 12}, {"epochs": 3}])
def test_a_fraction_of_an_epoch_is_told_as_one(given: dict[str, Any]) -> None:
    order = Order.plan(FIVE_A_EPOCH, settings(batch_size=10, **given))
    assert order.epoch_ends == (5, 10, 15)
    assert [order.epoch_at(step) for step in (1, 5, 6, 10, 12, 15)] == [0.2, 1.0, 1.2, 2.0, 2.4, 3.0]


def test_a_fraction_is_that_of_its_own_epoch() -> None:
    order = Order(Batching(FIVE_A_EPOCH, 10), (5, 15), 15)
    assert [order.epoch_at(step) for step in (2, 5, 7, 12, 15)] == [0.4, 1.0, 1.2, 1.7, 2.0]


def test_epochs_bounded_by_tokens_may_differ_in_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, size=200)
    order = Order.plan(lengths, settings(batch_size=16, batch_tokens=300, epochs=4))
    batching = Batching(lengths, batch_size=16, batch_tokens=300)
    assert np.diff([0, *order.epoch_ends]).tolist() == [len(batching.epoch(number)) for number in range(4)]


def test_a_steps_rows_are_told_without_the_steps_before() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, size=53)
    order = Order.plan(lengths, settings(batch_size=10, epochs=3))
    whole = [rows.tolist() for rows in islice(order.after(0), order.num_steps)]
    assert [order.rows(step).tolist() for step in range(1, order.num_steps + 1)] == whole
    assert [rows.tolist() for rows in islice(order.after(7), 5)] == whole[7:12]
    assert sorted(row for rows in whole[: order.epoch_ends[0]] for row in rows) == list(range(53))
