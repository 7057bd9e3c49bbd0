"""Batches of classes in equal parts: no row twice in one, every row in turn, whatever the classes' sizes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.balanced import Balanced


def made(sizes: list[int], batch_size: int, seed: int = 0) -> tuple[Balanced, np.ndarray]:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    classes = [np.flatnonzero(labels == label) for label in range(len(sizes))]
    return Balanced(np.full(len(labels), 5), batch_size, seed=seed, classes=classes), labels


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 40), st.integers(0, 3))
def test_batches_have_distinct_rows_and_as_many_as_there_are(sizes: list[int], batch_size: int, epoch: int) -> None:
    batching, labels = made(sizes, batch_size)
    batches = batching.epoch(epoch)
    assert len(batches) == -(-len(labels) // batch_size)
    for batch in batches:
        assert len(set(batch.tolist())) == len(batch) <= batch_size
        counts = np.bincount(labels[batch], minlength=len(sizes))
        chosen = counts > 0
        # Of the classes that are there, one has fewer rows than another only where it has no more.
        short = counts[chosen] < counts[chosen].max() - 1
        assert (counts[chosen][short] == np.array(sizes)[chosen][short]).all()


def test_few_rows_are_in_every_batch() -> None:
    batching, labels = made([8, 8], 32)
    assert [sorted(batch) for batch in batching.epoch(0)] == [list(range(16))]
    assert len(labels) == 16


def test_of_many_classes_each_has_two_rows_where_it_is() -> None:
    batching, labels = made([8] * 77, 64)
    batches = batching.epoch(0)
    for batch in batches:
        assert (np.bincount(labels[batch])[np.unique(labels[batch])] == 2).all()
    seen = np.bincount(np.concatenate([labels[batch] for batch in batches]), minlength=77)
    assert seen.max() - seen.min() <= 2


def test_every_row_of_a_class_comes_before_one_comes_again() -> None:
    batching, _ = made([10, 10], 4)
    rows = np.concatenate(batching.epoch(0))
    assert sorted(rows) == list(range(20))


def test_the_same_seed_and_epoch_give_the_same_batches() -> None:
    one, same, other = (made([9, 5, 3], 8, seed)[0].epoch(2) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_row_of_several_classes_is_drawn_once() -> None:
    classes = [np.array([0, 1, 2]), np.array([2, 3]), np.array([0, 3])]
    batch = Balanced(np.full(4, 5), 8, classes=classes).epoch(0)[0]
    assert sorted(batch) == [0, 1, 2, 3]
