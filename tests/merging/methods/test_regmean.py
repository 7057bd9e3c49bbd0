"""Means by regression on the layers' inputs."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.methods.regmean import Regmean
from luthier.merging.tensors import PART_ELEMENTS, merge_states
from tests.merging.methods.merged import assert_near, random


def merged(
    models: Sequence[Tensor],
    grams: Sequence[Tensor | None],
    *,
    alpha: float = 0.9,
    weight: tuple[float, ...] = (1.0,),
    part_elements: int = PART_ELEMENTS,
) -> Tensor:
    companions = [{} if gram is None else {"tensor": gram} for gram in grams]
    states = [{"tensor": model} for model in models]
    method = Regmean(alpha=alpha, weight=weight)
    return merge_states(states, method, companions=companions, part_elements=part_elements)["tensor"]


def inputs(num: int, width: int, *, seed: int) -> Tensor:
    """Rows whose columns depend on each other."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, width, generator=generator) @ torch.randn(width, width, generator=generator)


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_without_damping_it_is_least_squares_over_the_data_of_all(seed: int) -> None:
    _, models = random((6, 5), 2, by=1.0, seed=seed)
    data = [inputs(40, 5, seed=seed), inputs(25, 5, seed=seed + 1)]
    outputs = [rows @ model.T for rows, model in zip(data, models, strict=True)]
    expected = torch.linalg.lstsq(torch.cat(data).double(), torch.cat(outputs).double()).solution.T.float()
    grams = [rows.T @ rows for rows in data]
    for part_elements in (PART_ELEMENTS, 5):
        found = merged(models, grams, alpha=1.0, part_elements=part_elements)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9])
def test_it_is_the_papers_formula(alpha: float) -> None:
    _, models = random((6, 5), 3)
    grams = [(rows.T @ rows).double() for rows in (inputs(30, 5, seed=seed) for seed in range(3))]
    damped = [alpha * gram + (1 - alpha) * gram.diagonal().diag() for gram in grams]
    top = sum(model.double() @ gram for model, gram in zip(models, damped, strict=True))
    expected = (top @ torch.linalg.inv(torch.stack(damped).sum(dim=0))).float()
    assert_near(merged(models, [gram.float() for gram in grams], alpha=alpha), expected, within=1e-5)


def test_alike_inputs_give_the_weighted_mean_and_those_of_one_alone_give_that_one() -> None:
    _, models = random((4, 6), 2)
    rows = inputs(20, 6, seed=0)
    gram = rows.T @ rows
    assert_near(merged(models, [gram, gram]), (models[0] + models[1]) / 2)
    assert_near(merged(models, [gram, gram], weight=(3.0, 1.0)), (3 * models[0] + models[1]) / 4)
    assert_near(merged(models, [torch.zeros(6, 6), gram]), models[1], within=1e-5)


def test_inputs_that_never_occur_get_the_mean() -> None:
    _, models = random((4, 3), 2)
    rows = inputs(20, 3, seed=0)
    rows[:, 1] = 0
    found = merged(models, [rows.T @ rows, 2 * rows.T @ rows])
    assert_near(found[:, 1], (models[0] + models[1])[:, 1] / 2)
    assert_near(found[:, 0], (models[0] + 2 * models[1])[:, 0] / 3)
    nothing = torch.zeros(3, 3)
    assert_near(merged(models, [nothing, nothing]), (models[0] + models[1]) / 2)


@pytest.mark.parametrize("shape", [(), (5,), (4, 3)], ids=str)
def test_what_has_no_matrix_for_every_model_becomes_the_mean(shape: tuple[int, ...]) -> None:
    _, models = random(shape, 2)
    mean = (models[0] + models[1]) / 2
    assert_near(merged(models, [None, None]), mean)
    assert_near(merged(models, [torch.eye(3), None]), mean)


def test_a_matrix_of_another_size_is_refused_by_name() -> None:
    _, models = random((4, 3), 2)
    with pytest.raises(MergeError, match=r"regmean: tensor takes 3 inputs, .* \[4, 4\]"):
        merged(models, [torch.eye(4), torch.eye(4)])


def test_matrices_without_an_inverse_are_refused() -> None:
    _, models = random((4, 3), 2)
    with pytest.raises(MergeError, match="regmean: the dot products of tensor's inputs have no inverse"):
        merged(models, [torch.eye(3), torch.ones(3, 3)], alpha=3.0)
