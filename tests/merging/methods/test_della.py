"""DELLA, summed and with an election of signs, as its authors and mergekit have it."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import MergeError
from luthier.merging.methods._random import ranked
from tests.merging.methods.drawn import by_rank, draw_as_we_do, drawn
from tests.merging.methods.merged import FEW, assert_near, ours, random, theirs

KINDS = ["della", "della-linear"]
WEIGHTS = [0.5, 0.3, 0.2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(64, 48), (100,), (30, 2)], ids=str)
@pytest.mark.parametrize("said", [{}, {"normalize": False}, {"rescale": False}, {"epsilon": [0.1, 0.2, 0.19]}], ids=str)
def test_della_is_mergekits_whatever_the_parts(
    kind: str, shape: tuple[int, ...], said: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, models = random(shape, 3)
    said = {"weight": WEIGHTS, "density": [0.6, 1.0, 0.2], "scale": 0.7, **said}
    draw_as_we_do(monkeypatch, [0, 2], order=by_rank)
    expected = theirs(kind, models, base, **said)
    assert_near(ours(kind, models, base, style="mergekit", **said), expected)
    assert_near(ours(kind, models, base, style="mergekit", part_elements=FEW, **said), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_della_is_the_papers(kind: str) -> None:
    base, models = random((8, 10), 2)
    left = []
    for number, model in enumerate(models):
        delta = model - base
        drop = torch.empty_like(delta)  # p - ε / 2 + ε r / n, r from 0 for the largest
        largest_first = delta.abs().argsort(dim=1, descending=True)
        drop.scatter_(1, largest_first, (0.6 - 0.1 + 0.2 * torch.arange(10) / 10).expand(8, 10))
        numbers = torch.empty_like(delta).scatter_(1, largest_first.flip(1), drawn(number, delta))
        left.append(torch.where(numbers < 1 - drop, delta / (1 - drop), 0.0))
    found = ours(kind, models, base, density=0.4, epsilon=0.2)
    if kind == "della-linear":
        assert_near(found, base + left[0] + left[1])
        return
    sign = (left[0] + left[1]).sign()
    agrees = [(each.sign() == sign) & (each != 0) for each in left]
    num = (agrees[0].int() + agrees[1].int()).clamp(min=1)
    assert_near(found, base + (agrees[0] * left[0] + agrees[1] * left[1]) / num)


def test_large_changes_are_left_more_often_and_the_mean_is_the_change() -> None:
    base = torch.zeros(1, 8)
    model = torch.tensor([[1.0, -2, 3, -4, 5, -6, 7, -8]])
    num = 1500
    found = torch.stack([ours("della-linear", [model], base, density=0.5, epsilon=0.6, seed=i) for i in range(num)])
    shares = (found != 0).float().mean(dim=0)[0]
    expected = 0.5 + 0.3 - 0.6 * torch.arange(7, -1, -1) / 8
    assert (shares - expected).abs().max() < 5 * (0.25 / num) ** 0.5
    spread = model.abs() * ((1 - expected) / expected / num).sqrt()
    assert ((found.mean(dim=0) - model).abs() < 5 * spread).all()


@pytest.mark.parametrize("style", ["paper", "mergekit"])
def test_rows_of_one_element_are_left_with_the_density(style: str) -> None:
    base, model = torch.zeros(4000, 1), torch.ones(4000, 1)
    found = ours("della-linear", [model], base, style=style, density=0.4)
    assert found.isfinite().all()
    assert abs(float((found != 0).float().mean()) - 0.4) < 0.04


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.0000001, 1e-45, 2.5]), min_size=1, max_size=12), st.data())
@settings(max_examples=40)
def test_ranks_grow_with_magnitude_and_equals_stand_by_index(row: list[float], data: st.DataObject) -> None:
    other = data.draw(st.permutations(row))
    found = ranked(torch.tensor([row, other])).tolist()
    assert found == [sorted(range(len(row)), key=lambda index: (abs(each[index]), index)) for each in (row, other)]


@pytest.mark.parametrize(("style", "epsilon"), [("paper", 0.6), ("mergekit", 0.3)])
def test_probabilities_beyond_0_and_1_are_refused_with_their_numbers(style: str, epsilon: float) -> None:
    base, models = random((4, 4), 1)
    with pytest.raises(MergeError, match=r"density 0\.3 and epsilon 0\.[36] the probabilities go from 0 to 0\.6"):
        ours("della", models, base, style=style, density=0.3, epsilon=epsilon)
