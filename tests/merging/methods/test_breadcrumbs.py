"""Breadcrumbs, summed and with an election of signs, as mergekit has them and as the paper says."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.merging.methods.merged import FEW, SHAPES, assert_near, ours, random, theirs

KINDS = ["breadcrumbs", "breadcrumbs-ties"]
WEIGHTS = [0.5, 0.3, 0.2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [*SHAPES, (1,), (5, 1), (1, 9)], ids=str)
@pytest.mark.parametrize(
    "said",
    [
        {"density": [0.6, 1.0, 0.2], "gamma": [0.1, 0.2, 0.05]},
        {"density": 0.5, "gamma": 0.0, "normalize": True},
        {"density": 0.9, "gamma": 0.3, "rescale": True},
        {"density": 0.001},
        {"density": 0.0},
        {"density": 0.3, "gamma": 1.0},
        {},
    ],
    ids=str,
)
def test_breadcrumbs_are_mergekits_whatever_the_parts(kind: str, shape: tuple[int, ...], said: dict[str, Any]) -> None:
    base, models = random(shape, 3)
    said = {"weight": WEIGHTS, "scale": 0.7, **said}
    expected = theirs(kind, models, base, **said)
    assert_near(ours(kind, models, base, style="mergekit", **said), expected)
    assert_near(ours(kind, models, base, style="mergekit", part_elements=FEW, **said), expected)


@given(st.integers(0, 10**6), st.floats(0, 0.99), st.floats(0, 1), st.integers(1, 100))
@settings(max_examples=40)
def test_a_band_of_magnitudes_is_left(seed: int, density: float, gamma: float, part_elements: int) -> None:
    base = torch.zeros(6, 7)
    delta = torch.randint(-6, 7, (6, 7), generator=torch.Generator().manual_seed(seed)).float()
    found = ours("breadcrumbs", [delta], base, density=density, gamma=gamma, part_elements=part_elements).flatten()
    order = sorted(range(42), key=lambda index: (-abs(float(delta.flatten()[index])), index))
    begin = min(int(gamma * 42), 42 - int(density * 42))
    expected = torch.zeros(42)
    band = order[begin : begin + int(density * 42)]
    expected[band] = delta.flatten()[band]
    assert torch.equal(found, expected)


def test_the_papers_is_a_sum_and_with_ties_a_mean_of_those_that_agree() -> None:
    base = torch.zeros(1, 10)
    first = torch.tensor([[9.0, 5, -5, 4, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3]])
    second = torch.tensor([[0.1, 7.0, 4, 2, 30, 0.2, 0.3, 0.1, 0.2, 0.3]])
    said = {"density": 0.3, "gamma": 0.1}
    summed = ours("breadcrumbs", [first, second], base, **said)
    assert summed.tolist() == [[0, 12, -1, 6, 0, 0, 0, 0, 0, 0]]
    elected = ours("breadcrumbs-ties", [first, second], base, **said)
    assert elected.tolist() == [[0, 6, -5, 3, 0, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("kind", KINDS)
def test_models_that_learnt_nothing_are_the_base(kind: str) -> None:
    base, _ = random((6, 5), 0)
    assert torch.equal(ours(kind, [base.clone(), base.clone()], base, density=0.5, rescale="l1"), base)
