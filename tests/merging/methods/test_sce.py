"""SCE as mergekit has it, and where it goes other ways."""

import pytest
import torch

from tests.merging.methods.merged import FEW, SHAPES, assert_near, ours, random, theirs


@pytest.mark.parametrize("shape", [*SHAPES, (1,), (5, 1)], ids=str)
@pytest.mark.parametrize("select_topk", [0.0, 0.001, 0.3, 1.0])
@pytest.mark.parametrize("by", [0.1, 1e-4])
def test_sce_is_mergekits_whatever_the_parts(shape: tuple[int, ...], select_topk: float, by: float) -> None:
    base, models = random(shape, 3, by=by)
    models[1] = base + 2 * (models[1] - base)
    expected = theirs("sce", models, base, select_topk=select_topk)
    assert_near(ours("sce", models, base, style="mergekit", select_topk=select_topk), expected)
    found = ours("sce", models, base, style="mergekit", select_topk=select_topk, part_elements=FEW)
    assert_near(found, expected)


def test_the_papers_weights_are_shares_of_the_squares_however_small() -> None:
    base = torch.zeros(2, 2)
    first, second = torch.full((2, 2), 1e-5), torch.full((2, 2), 3e-5)
    found = ours("sce", [first, second], base, select_topk=1.0)
    torch.testing.assert_close(found, (0.1 * first + 0.9 * second), rtol=1e-5, atol=0)
    alike = ours("sce", [first, second], base, style="mergekit")
    torch.testing.assert_close(alike, (first + second) / 2, rtol=1e-5, atol=0)


def test_of_equal_variances_those_of_lowest_index_are_selected() -> None:
    base = torch.zeros(2, 3)
    first, second = torch.tensor([[1.0, 1, 4], [1, 1, 0]]), torch.tensor([[3.0, 3, 8], [3, 3, 0]])
    for part_elements in (100, 3):
        found = ours("sce", [first, second], base, select_topk=0.4, part_elements=part_elements)
        weights = torch.tensor([1.0 + 16, 9.0 + 64]) / 90
        expected = weights[0] * first + weights[1] * second
        assert_near(found, torch.tensor([[expected[0, 0], 0, expected[0, 2]], [0, 0, 0]]))


def test_models_that_learnt_nothing_are_the_base() -> None:
    base, _ = random((6, 5), 0)
    for select_topk in (0.5, 1.0):
        assert torch.equal(ours("sce", [base.clone(), base.clone()], base, select_topk=select_topk), base)
