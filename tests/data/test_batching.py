"""Every row once, within bounds, in an order that a seed fixes, with little padding."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy import ndarray

from luthier.data.batching import Batching

cases = st.builds(
    Batching,
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=120).map(np.array),
    batch_size=st.integers(1, 9),
    batch_tokens=st.none() | st.integers(1, 200),
    seed=st.integers(0, 3),
)


def num_computed(batching: Batching, batch: ndarray) -> int:
    """Tokens of a batch, padding included."""
    return len(batch) * int(batching.lengths[batch].max())


@given(cases, st.integers(0, 5))
def test_an_epoch_holds_every_row_once(batching: Batching, number: int) -> None:
    for batches in (batching.epoch(number), batching.sorted()):
        assert sorted(np.concatenate(batches)) == list(range(len(batching.lengths)))


@given(cases)
def test_no_batch_is_empty_or_beyond_its_bounds(batching: Batching) -> None:
    for batch in [*batching.epoch(0), *batching.sorted()]:
        assert 0 < len(batch) <= batching.batch_size
        if batching.batch_tokens is not None and len(batch) > 1:
            assert num_computed(batching, batch) <= batching.batch_tokens


@given(cases)
def test_batches_are_as_full_as_their_bounds_allow(batching: Batching) -> None:
    """In sorted order no batch could take the next one's first row too."""
    for batch, after in itertools.pairwise(batching.sorted()):
        longer = np.append(batch, after[0])
        is_full = len(batch) == batching.batch_size
        is_long = batching.batch_tokens is not None and num_computed(batching, longer) > batching.batch_tokens
        assert is_full or is_long


@given(cases)
def test_the_same_seed_and_epoch_give_the_same_batches(batching: Batching) -> None:
    again = Batching(batching.lengths.copy(), batching.batch_size, batching.batch_tokens, batching.seed)
    for one, same in zip(batching.epoch(1), again.epoch(1), strict=True):
        assert one.tolist() == same.tolist()


def order(batching: Batching, number: int = 0) -> list[int]:
    return np.concatenate(batching.epoch(number)).tolist()


@pytest.mark.parametrize("batch_tokens", [None, 100])
def test_another_epoch_and_another_seed_have_another_order(batch_tokens: int | None) -> None:
    lengths = np.random.default_rng(0).integers(1, 60, size=200)
    batching = Batching(lengths, 8, batch_tokens, seed=0)
    other = Batching(lengths, 8, batch_tokens, seed=1)
    assert len({tuple(o) for o in (order(batching, 0), order(batching, 1), order(other, 0), order(other, 1))}) == 4


def test_sorted_begins_with_the_longest() -> None:
    batching = Batching(np.array([3, 9, 1, 7]), batch_size=2)
    assert [batch.tolist() for batch in batching.sorted()] == [[1, 3], [0, 2]]


def test_rows_bounded_by_tokens_are_cut_by_hand() -> None:
    batching = Batching(np.array([10, 1, 1, 1, 4, 4]), batch_size=10, batch_tokens=8)
    assert [batch.tolist() for batch in batching.sorted()] == [[0], [5, 4], [3, 2, 1]]


def test_epochs_go_on_without_end() -> None:
    batching = Batching(np.arange(1, 11), batch_size=4)
    numbers = [number for number, _ in itertools.islice(batching.endless(), 9)]
    assert numbers == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_windows_sorted_by_length_need_a_fifth_of_random_orders_padding() -> None:
    random = np.random.default_rng(0)
    lengths = random.lognormal(4, 0.7, size=3000).astype(int).clip(4, 512)
    batching = Batching(lengths, batch_size=16)
    shuffled = np.array_split(random.permutation(3000), 188)

    def padding(batches: list[ndarray]) -> float:
        return 1 - lengths.sum() / sum(num_computed(batching, batch) for batch in batches)

    assert padding(batching.epoch(0)) < 0.2 * padding(shuffled)


def test_lengths_of_batches_come_in_no_order() -> None:
    lengths = np.random.default_rng(0).integers(1, 500, size=2000)
    means = [lengths[batch].mean() for batch in Batching(lengths, batch_size=16).epoch(0)]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.25
