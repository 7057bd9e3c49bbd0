"""Every row once, no bin above its capacity, and little room wasted."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.packing import pack

capacities = st.integers(1, 64)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], int]:
    """Lengths, none above the capacity, and the capacity."""
    capacity = draw(capacities)
    return draw(st.lists(st.integers(0, capacity), max_size=200)), capacity


def first_fit(lengths: Sequence[int], capacity: int) -> int:
    """How many bins the plainest packing takes, in the rows' own order."""
    rooms: list[int] = []
    for length in lengths:
        number = next((number for number, room in enumerate(rooms) if room >= length), None)
        if number is None:
            rooms.append(capacity - length)
        else:
            rooms[number] -= length
    return len(rooms)


def best_fit_decreasing(lengths: Sequence[int], capacity: int) -> int:
    """The same rule, searched bin by bin."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms[rooms.index(min(fitting))] -= length
        else:
            rooms.append(capacity - length)
    return len(rooms)


def skewed(num_rows: int, capacity: int) -> np.ndarray:
    """Lengths as texts have them: many short ones, few long ones."""
    drawn = np.random.default_rng(0).lognormal(4, 1, num_rows)
    return np.clip(drawn.astype(int), 1, capacity)


@given(cases())
def test_every_row_is_in_one_bin(case: tuple[list[int], int]) -> None:
    lengths, capacity = case
    bins = pack(lengths, capacity)
    assert sorted(row for rows in bins for row in rows) == list(range(len(lengths)))


@given(cases())
def test_no_bin_is_empty_or_above_its_capacity(case: tuple[list[int], int]) -> None:
    lengths, capacity = case
    for rows in pack(lengths, capacity):
        assert rows
        assert sum(lengths[row] for row in rows) <= capacity


@given(cases())
def test_it_takes_the_fullest_bin_that_has_room(case: tuple[list[int], int]) -> None:
    assert len(pack(*case)) == best_fit_decreasing(*case)


@given(cases())
def test_at_most_one_bin_is_not_more_than_half_full(case: tuple[list[int], int]) -> None:
    lengths, capacity = case
    filled = [sum(lengths[row] for row in rows) for rows in pack(lengths, capacity)]
    assert sum(tokens <= capacity / 2 for tokens in filled) <= 1


def test_equal_lengths_give_equal_bins() -> None:
    lengths = skewed(500, 256)
    assert pack(lengths, 256) == pack(lengths.tolist(), 256)


def test_a_row_longer_than_the_capacity_has_a_bin_of_its_own() -> None:
    assert pack([3, 12, 2, 20], 10) == [[3], [1], [0, 2]]


def test_no_rows_need_no_bin() -> None:
    assert pack([], 8) == []


@pytest.mark.parametrize("capacity", [256, 1024])
def test_texts_are_packed_nearly_without_waste(capacity: int) -> None:
    lengths = skewed(4000, capacity)
    num_bins, least = len(pack(lengths, capacity)), -(-int(lengths.sum()) // capacity)
    assert least <= num_bins <= first_fit(lengths.tolist(), capacity)
    assert lengths.sum() / (num_bins * capacity) > 0.99
