"""Means by Fisher information."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.methods.fisher import Fisher
from luthier.merging.tensors import PART_ELEMENTS, merge_states
from tests.merging.methods.merged import assert_near, random


def merged(
    models: Sequence[Tensor],
    statistics: Sequence[Tensor | None],
    *,
    weight: tuple[float, ...] = (1.0,),
    part_elements: int = PART_ELEMENTS,
) -> Tensor:
    companions = [{} if statistic is None else {"tensor": statistic} for statistic in statistics]
    states = [{"tensor": model} for model in models]
    return merge_states(states, Fisher(weight=weight), companions=companions, part_elements=part_elements)["tensor"]


@given(st.integers(0, 10**6), st.lists(st.floats(0.1, 2), min_size=3, max_size=3), st.sampled_from([1.0, 1e-30]))
@settings(max_examples=25)
def test_fisher_is_the_papers_formula_whatever_the_parts(seed: int, weights: list[float], size: float) -> None:
    _, models = random((7, 5), 3, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    statistics = [torch.rand(7, 5, generator=generator) * size for _ in models]
    terms = list(zip(weights, statistics, models, strict=True))
    top = sum(weight * statistic.double() * model.double() for weight, statistic, model in terms)
    expected = (top / sum(weight * statistic.double() for weight, statistic, _ in terms)).float()  # type: ignore[union-attr]
    assert_near(merged(models, statistics, weight=tuple(weights)), expected)
    assert_near(merged(models, statistics, weight=tuple(weights), part_elements=11), expected)


@pytest.mark.parametrize("shape", [(), (5,), (4, 3), (2, 3, 4)], ids=str)
def test_equal_information_is_the_mean_and_that_of_one_alone_is_that_one(shape: tuple[int, ...]) -> None:
    _, models = random(shape, 3)
    mean = torch.stack(models).mean(dim=0)
    assert_near(merged(models, [torch.full(shape, 0.3)] * 3), mean)
    alone = [torch.zeros(shape), torch.full(shape, 1e-12), torch.zeros(shape)]
    assert_near(merged(models, alone), models[1])


def test_where_nothing_is_known_the_weighted_mean_stands() -> None:
    _, models = random((3, 4), 2)
    mean = (models[0] + 3 * models[1]) / 4
    assert_near(merged(models, [torch.zeros(3, 4)] * 2, weight=(1.0, 3.0)), mean)
    assert_near(merged(models, [None, None], weight=(1.0, 3.0)), mean)
    assert_near(merged(models, [torch.ones(3, 4), None], weight=(1.0, 3.0)), mean)
    half = torch.tensor([1.0, 0.0]).repeat(6).reshape(3, 4)
    assert_near(merged(models, [half, half], weight=(1.0, 3.0)), mean)


def test_weights_that_sum_to_0_are_refused() -> None:
    _, models = random((3, 4), 2)
    with pytest.raises(MergeError, match="fisher: the weights sum to 0"):
        merged(models, [None, None], weight=(1.0, -1.0))
