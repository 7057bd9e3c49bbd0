"""DARE, summed and with an election of signs, as its authors, mergekit and PEFT have it."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft.utils import merge_utils

from tests.merging.methods.drawn import draw_as_we_do, drawn, labelled
from tests.merging.methods.merged import FEW, SHAPES, assert_near, ours, random, theirs

KINDS = ["dare-linear", "dare-ties"]
WEIGHTS = [0.5, 0.3, 0.2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [*SHAPES, (1,), (5, 1)], ids=str)
@pytest.mark.parametrize("said", [{}, {"normalize": True}, {"rescale": False}], ids=str)
def test_dare_is_mergekits_whatever_the_parts(
    kind: str, shape: tuple[int, ...], said: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, models = random(shape, 3)
    said = {"weight": WEIGHTS, "density": [0.6, 1.0, 0.2], "scale": 0.7, **said}
    draw_as_we_do(monkeypatch, [0, 2])
    expected = theirs(kind, models, base, **said)
    assert_near(ours(kind, models, base, style="mergekit", **said), expected)
    assert_near(ours(kind, models, base, style="mergekit", part_elements=FEW, **said), expected)


@pytest.mark.parametrize(("method", "sign"), [("total", "sum"), ("frequency", "count")])
def test_dare_is_pefts(method: Any, sign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    base, models = random((64, 48), 3)
    deltas, said = [model - base for model in models], {"weight": WEIGHTS, "density": 0.3}
    draw_as_we_do(monkeypatch, [0, 1, 2])
    expected = base + merge_utils.dare_linear(deltas, torch.tensor(WEIGHTS), 0.3)
    assert_near(ours("dare-linear", models, base, style="peft", **said), expected)
    draw_as_we_do(monkeypatch, [0, 1, 2])
    expected = base + merge_utils.dare_ties(deltas, torch.tensor(WEIGHTS), 0.3, majority_sign_method=method)
    assert_near(ours("dare-ties", models, base, style="peft", sign=sign, **said), expected)


def test_dare_is_the_papers() -> None:
    base, models = random((12, 10), 2)
    left = [torch.where(drawn(i, base) < 0.4, (model - base) / 0.4, 0.0) for i, model in enumerate(models)]
    summed = base + 0.8 * (left[0] + 2 * left[1])
    assert_near(ours("dare-linear", models, base, density=0.4, weight=[1.0, 2.0], scale=0.8), summed)
    sign = (left[0] + left[1]).sign()
    agrees = [(each.sign() == sign) & (each != 0) for each in left]
    weighed = agrees[0] * left[0] + agrees[1] * 2 * left[1]
    elected = base + weighed / (agrees[0] * 1.0 + agrees[1] * 2.0).clamp(min=1)
    assert_near(ours("dare-ties", models, base, density=0.4, weight=[1.0, 2.0]), elected)


def test_what_is_left_has_the_change_as_its_mean_over_seeds() -> None:
    base, (model,) = random((10, 10), 1, by=1.0)
    num, density = 600, 0.3
    found = [ours("dare-linear", [model], base, density=density, seed=seed) - base for seed in range(num)]
    delta = model - base
    spread = delta.abs() * ((1 - density) / density / num) ** 0.5
    assert ((torch.stack(found).mean(dim=0) - delta).abs() <= 5 * spread + 1e-5).all()
    share = (torch.stack(found) != 0).float().mean()
    assert abs(float(share) - density) < 0.01


def test_a_seed_a_tensor_and_a_model_each_have_their_own_draws() -> None:
    base, (model,) = random((20, 20), 1)
    first = ours("dare-linear", [model], base, density=0.5) - base
    assert torch.equal(ours("dare-linear", [model], base, density=0.5) - base, first)
    assert not torch.equal(ours("dare-linear", [model], base, density=0.5, seed=1) - base, first)
    other = labelled("dare-linear", {"another": model}, base, density=0.5) - base
    assert not torch.equal(other != 0, first != 0)


@pytest.mark.parametrize("kind", [*KINDS, "della", "della-linear"])
@given(seed=st.integers(0, 10**6), order=st.permutations(range(3)), part_elements=st.integers(1, 60))
@settings(max_examples=10)
def test_neither_order_of_models_nor_parts_change_a_draw(
    kind: str, seed: int, order: list[int], part_elements: int
) -> None:
    base, models = random((9, 5), 3, seed=seed)
    named = dict(zip("abc", models, strict=True))
    for said in ({}, {"style": "mergekit", "density": 0.5}):
        first = labelled(kind, named, base, seed=seed, **said)
        turned = {name: named[name] for name in ("abc"[place] for place in order)}
        assert_near(labelled(kind, turned, base, seed=seed, **said), first)
        assert torch.equal(labelled(kind, named, base, seed=seed, part_elements=part_elements, **said), first)


@pytest.mark.parametrize("kind", [*KINDS, "della", "della-linear"])
@pytest.mark.parametrize("said", [{}, {"rescale": "l1"}, {"rescale": "none"}], ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (6, 1), (1, 7), (6, 5)], ids=str)
def test_models_that_learnt_nothing_are_the_base_and_one_left_whole_is_itself(
    kind: str, said: dict[str, Any], shape: tuple[int, ...]
) -> None:
    base, (model,) = random(shape, 1)
    assert torch.equal(ours(kind, [base.clone(), base.clone()], base, density=0.5, **said), base)
    assert torch.equal(ours(kind, [model], base, density=0.0, **said), base)
    assert_near(ours(kind, [model], base, density=1.0, **said), model)
    assert ours(kind, [model], base, density=0.5, **said).isfinite().all()


@pytest.mark.parametrize("kind", [*KINDS, "della", "della-linear"])
def test_nothing_that_is_given_is_written_to(kind: str) -> None:
    base, models = random((30, 20), 3)
    before = [tensor.clone() for tensor in (base, *models)]
    for said in ({}, {"rescale": "l1"}):
        ours(kind, models, base, density=[0.5, 1.0, 0.0], **said)
    assert all(torch.equal(now, then) for now, then in zip((base, *models), before, strict=True))
