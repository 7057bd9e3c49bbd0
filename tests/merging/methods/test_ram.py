"""Reinforced agent merging, and its growth, as mergekit has them."""

import pytest
import torch
from torch import Tensor

from tests.merging.methods.merged import FEW, SHAPES, assert_near, ours, random, theirs


def sparse(shape: tuple[int, ...]) -> tuple[Tensor, list[Tensor]]:
    """Models that each changed a part of the base."""
    base, models = random(shape, 3)
    generator = torch.Generator().manual_seed(1)
    shares = zip(models, (0.7, 0.3, 0.1), strict=True)
    return base, [torch.where(torch.rand(shape, generator=generator) < share, model, base) for model, share in shares]


@pytest.mark.parametrize("shape", [*SHAPES, (1,), (5, 1)], ids=str)
@pytest.mark.parametrize("epsilon", [1e-5, 0.05])
def test_ram_is_mergekits_whatever_the_parts(shape: tuple[int, ...], epsilon: float) -> None:
    base, models = sparse(shape)
    expected = theirs("ram", models, base, epsilon=epsilon)
    assert_near(ours("ram", models, base, epsilon=epsilon), expected)
    assert_near(ours("ram", models, base, epsilon=epsilon, part_elements=FEW), expected)


@pytest.mark.parametrize("shape", [*SHAPES, (1,), (5, 1)], ids=str)
@pytest.mark.parametrize("said", [{}, {"r": 1.0, "alpha": 5.0}, {"r": 0.5, "alpha": 0.1, "epsilon": 0.05}], ids=str)
def test_ramplus_is_mergekits_whatever_the_parts(shape: tuple[int, ...], said: dict[str, float]) -> None:
    base, models = sparse(shape)
    expected = theirs("ramplus-tl", models, base, **said)
    assert_near(ours("ramplus-tl", models, base, **said), expected)
    assert_near(ours("ramplus-tl", models, base, part_elements=FEW, **said), expected)


def test_what_one_model_changed_is_kept_and_what_more_did_is_their_mean() -> None:
    base = torch.zeros(1, 4)
    models = [torch.tensor([[1.0, 2, 0, 0]]), torch.tensor([[0.0, 4, 0, 1e-6]]), torch.tensor([[0.0, 6, 0, 0]])]
    assert ours("ram", models, base).tolist() == [[1, 4, 0, 0]]
    grown = ours("ramplus-tl", models, base, r=0.5, alpha=0.8)
    torch.testing.assert_close(grown, torch.tensor([[1 + 0.5 * 0.8, 4, 0, 0]]))


@pytest.mark.parametrize("kind", ["ram", "ramplus-tl"])
def test_models_that_learnt_nothing_are_the_base_and_nothing_is_written_to(kind: str) -> None:
    base, models = random((6, 5), 2)
    before = [tensor.clone() for tensor in (base, *models)]
    assert torch.equal(ours(kind, [base.clone(), base.clone()], base), base)
    ours(kind, models, base)
    assert all(torch.equal(now, then) for now, then in zip((base, *models), before, strict=True))
