"""NearSwap and Arcee fusion, which look at each number; and exact quantiles of what comes in pieces."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luthier.merging.methods._order import order_statistics
from tests.merging.methods.merged import FEW, SHAPES, assert_near, ours, random, theirs


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("t", [0.0, 1e-7, 0.05, 10.0])
def test_nearswap_is_mergekits_whatever_the_parts(shape: tuple[int, ...], t: float) -> None:
    base, (model,) = random(shape, 1)
    expected = theirs("nearswap", [model], base, t=t)
    assert_near(ours("nearswap", [model], base, t=t), expected)
    assert torch.equal(ours("nearswap", [model], base, t=t), ours("nearswap", [model], base, t=t, part_elements=FEW))


@given(st.floats(0, 1), st.integers(0, 50))
def test_nearswap_moves_no_number_farther_than_t_nor_past_the_model(t: float, seed: int) -> None:
    base, (model,) = random((5, 4), 1, by=0.5, seed=seed)
    moved = ours("nearswap", [model], base, t=t) - base
    assert (moved.abs() <= min(t, 1e9) + 1e-6).all()
    assert (moved.abs() <= (model - base).abs() + 1e-6).all()
    near = (model - base).abs() < t * 0.999
    assert torch.equal(ours("nearswap", [model], base, t=t)[near], model[near])


@pytest.mark.parametrize("shape", [*SHAPES, (7, 1), (1, 9)], ids=str)
@pytest.mark.parametrize("by", [0.3, 0.05])
def test_arcee_fusion_is_mergekits_whatever_the_parts(shape: tuple[int, ...], by: float) -> None:
    base, (model,) = random(shape, 1, by=by)
    expected = theirs("arcee-fusion", [model], base)
    assert_near(ours("arcee-fusion", [model], base), expected)
    assert_near(ours("arcee-fusion", [model], base, part_elements=FEW), expected)


def test_arcee_fusion_takes_few_numbers_and_takes_them_whole() -> None:
    base, (model,) = random((64, 48), 1)
    found = ours("arcee-fusion", [model], base)
    taken = found == model
    assert torch.equal(found, torch.where(taken, model, base))
    assert 0.01 < taken.float().mean() < 0.25


def test_arcee_fusion_of_over_a_million_numbers_needs_no_chance() -> None:
    base, (model,) = random((1100, 1000), 1)
    first, second = (ours("arcee-fusion", [model], base, part_elements=size) for size in (10**5, 10**7))
    assert torch.equal(first, second)


@given(
    st.lists(st.floats(0, 2.0**100, width=32), min_size=1, max_size=80),
    st.integers(1, 20),
    st.data(),
)
def test_a_place_in_order_is_exact_however_the_numbers_are_cut(values: list[float], size: int, data) -> None:
    places = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=4))
    numbers = torch.tensor(values, dtype=torch.float32)

    def asked(num: int) -> list[int]:
        assert num == len(values)
        return places

    found = order_statistics(lambda: numbers.split(size), asked)
    assert found == [float(each) for each in np.sort(numbers.numpy())[places]]
