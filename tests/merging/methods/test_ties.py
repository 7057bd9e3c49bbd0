"""TIES as its authors, mergekit and PEFT have it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft.utils import merge_utils
from torch import Tensor

from luthier.merging.methods.ties import Ties
from luthier.merging.tensors import merge_states
from tests.merging.methods.merged import FEW, SHAPES, assert_near, ours, random, theirs

MANY_SHAPES = [*SHAPES, (1,), (5, 1), (1, 9)]
WEIGHTS = [0.5, 0.3, 0.2]


@pytest.mark.parametrize("shape", MANY_SHAPES, ids=str)
@pytest.mark.parametrize("density", [0.0, 1e-9, 0.2, [0.5, 1.0, 0.1], 1.0], ids=str)
def test_ties_is_mergekits_whatever_the_parts(shape: tuple[int, ...], density: float | list[float]) -> None:
    base, models = random(shape, 3)
    said = {"weight": WEIGHTS, "density": density, "scale": 0.7}
    expected = theirs("ties", models, base, **said)
    assert_near(ours("ties", models, base, style="mergekit", **said), expected)
    assert_near(ours("ties", models, base, style="mergekit", part_elements=FEW, **said), expected)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("weight", [[1.0, -0.5, 0.25], [0.0, 0.0, 0.0], [0.5, -0.5, 1.0]], ids=str)
def test_ties_takes_mergekits_switches_and_weights_below_0(weight: list[float], rescale: bool, normalize: bool) -> None:
    base, models = random((64, 48), 3)
    said = {"weight": weight, "density": 0.4, "normalize": normalize, "rescale": rescale}
    expected = theirs("ties", models, base, **said)
    assert_near(ours("ties", models, base, style="mergekit", **said), expected)
    assert_near(ours("ties", models, base, style="mergekit", part_elements=FEW, **said), expected)


@pytest.mark.parametrize(("method", "sign"), [("total", "sum"), ("frequency", "count")])
@pytest.mark.parametrize("shape", [(64, 48), (100,), (6, 5, 4)], ids=str)
def test_ties_is_pefts(shape: tuple[int, ...], method: Any, sign: str) -> None:
    base, models = random(shape, 3)
    deltas = [model - base for model in models]
    expected = base + merge_utils.ties(deltas, torch.tensor(WEIGHTS), 0.3, majority_sign_method=method)
    found = ours("ties", models, base, style="peft", weight=WEIGHTS, density=0.3, sign=sign)
    assert_near(found, expected)


def as_in_the_paper(changes: Sequence[Tensor], density: float) -> Tensor:
    """The formulas over all changes of each model, flattened: trim, elect, disjoint mean."""
    trimmed = []
    for change in changes:
        smallest = change.numel() - int(change.numel() * density)
        threshold = change.abs().kthvalue(smallest).values
        trimmed.append(torch.where(change.abs() >= threshold, change, 0.0))
    sign = torch.stack(trimmed).sum(dim=0).sign()
    majority = sign.sum().sign()
    assert majority != 0
    sign = torch.where(sign == 0, majority, sign)
    agrees = torch.stack([(each.sign() == sign) & (each != 0) for each in trimmed])
    return (torch.stack(trimmed) * agrees).sum(dim=0) / agrees.sum(dim=0).clamp(min=1)


def states(seed: int, num: int, *, coarse: bool) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """A base and models of a few tensors, whose changes are of different sizes; coarse ones are of few values."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"matrix": (13, 7), "vector": (11,), "number": (), "large": (20, 30)}
    base, models = {}, [dict[str, Tensor]() for _ in range(num)]
    for size, (name, shape) in enumerate(shapes.items(), start=1):
        base[name] = torch.randint(-8, 8, shape, generator=generator).float()
        for model in models:
            change = torch.randn(shape, generator=generator) * size
            model[name] = base[name] + (change.round() if coarse else change)
    return base, models


def flat(tensors: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


@pytest.mark.parametrize("coarse", [False, True], ids=["continuous", "in ties"])
@pytest.mark.parametrize("density", [0.05, 0.2, 0.9])
@pytest.mark.parametrize("num", [2, 3])
def test_ties_is_the_papers_over_the_whole_model(num: int, density: float, coarse: bool) -> None:
    base, models = states(3, num, coarse=coarse)
    expected = flat(base) + 0.6 * as_in_the_paper([flat(model) - flat(base) for model in models], density)
    for part_elements in (2**22, 40):
        method = Ties(density=(density,), scale=0.6)
        assert_near(flat(merge_states(models, method, base=base, part_elements=part_elements)), expected)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    base, models = states(5, 3, coarse=True)
    for cores in ({0}, set(range(8))):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: cores)
        found = flat(merge_states(models, Ties(), base=base, part_elements=40))
        expected = flat(base) + as_in_the_paper([flat(model) - flat(base) for model in models], 0.2)
        assert_near(found, expected)


def test_changes_that_cancel_out_take_the_sign_of_the_majority() -> None:
    base = {"a": torch.zeros(6)}
    models = [{"a": torch.tensor([2.0, -1, -1, -1, 0, 0])}, {"a": torch.tensor([-2.0, -1, -1, 0, 0, 0])}]
    whole = merge_states(models, Ties(density=(1.0,)), base=base)["a"]
    assert whole.tolist() == [-2, -1, -1, -1, 0, 0]
    tensor = merge_states(models, Ties(density=(1.0,), trim="tensor"), base=base)["a"]
    assert tensor.tolist() == [-2, -1, -1, -1, 0, 0]
    plus = merge_states(models, Ties(density=(1.0,), undecided="plus"), base=base)["a"]
    assert plus.tolist() == [2, -1, -1, -1, 0, 0]


def test_a_tensor_alone_keeps_of_equals_those_of_lowest_index() -> None:
    base = torch.zeros(2, 4)
    models = [torch.tensor([[1.0, -1, 1, 1], [1, 3, 1, -1]])]
    for part_elements in (100, 4):
        found = ours("ties", models, base, trim="tensor", density=0.5, part_elements=part_elements)
        assert found.tolist() == [[1, -1, 1, 0], [0, 3, 0, 0]]


def test_the_whole_model_keeps_all_that_are_as_large_as_the_last() -> None:
    base = torch.zeros(2, 4)
    models = [torch.tensor([[1.0, -1, 1, 1], [1, 3, 0.5, -1]])]
    assert ours("ties", models, base, density=0.25).tolist() == [[1, -1, 1, 1], [1, 3, 0, -1]]


@given(st.integers(0, 10**6), st.lists(st.floats(0.1, 3), min_size=2, max_size=4))
@settings(max_examples=25)
def test_all_of_changes_that_agree_is_their_weighted_mean(seed: int, weights: list[float]) -> None:
    generator = torch.Generator().manual_seed(seed)
    base, sign = torch.randn(5, 6, generator=generator), torch.randn(5, 6, generator=generator).sign()
    deltas = [sign * torch.rand(5, 6, generator=generator) for _ in weights]
    mean = sum(weight * delta for weight, delta in zip(weights, deltas, strict=True)) / sum(weights)
    for style in ("paper", "mergekit"):
        found = ours("ties", [base + delta for delta in deltas], base, style=style, weight=weights, density=1.0)
        torch.testing.assert_close(found, base + mean, rtol=1e-5, atol=1e-5)


@given(st.integers(0, 10**6), st.permutations(range(3)))
@settings(max_examples=15)
def test_the_order_of_models_is_none(seed: int, order: list[int]) -> None:
    base, models = random((9, 5), 3, seed=seed)
    for style in ("paper", "mergekit", "peft"):
        first = ours("ties", models, base, style=style, density=[0.2, 0.5, 0.4], weight=WEIGHTS)
        density, weight = [[each[place] for place in order] for each in ([0.2, 0.5, 0.4], WEIGHTS)]
        again = ours("ties", [models[place] for place in order], base, style=style, density=density, weight=weight)
        assert_near(again, first)


@pytest.mark.parametrize("style", ["paper", "mergekit", "peft"])
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_models_that_learnt_nothing_are_the_base(style: str, density: float) -> None:
    base, _ = random((6, 5), 0)
    assert torch.equal(ours("ties", [base.clone(), base.clone()], base, style=style, density=density), base)


def test_nothing_that_is_given_is_written_to() -> None:
    base, models = random((30, 20), 2)
    before = [tensor.clone() for tensor in (base, *models)]
    for said in ({}, {"style": "mergekit", "density": 1.0}, {"trim": "tensor", "rescale": "l1"}):
        ours("ties", models, base, **said)
    assert all(torch.equal(now, then) for now, then in zip((base, *models), before, strict=True))


def test_weights_too_small_for_fp32_divide_nothing_by_nothing() -> None:
    base, a, b = torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1e-24, 0.0]])
    made = merge_states([{"w": a}, {"w": b}], Ties(density=(1.0,), weight=(1.0, 1e-46)), base={"w": base})
    assert torch.isfinite(made["w"]).all()
