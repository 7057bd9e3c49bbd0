"""The best approximations of a rank, of matrices and of products that are not formed."""

import pytest
import torch
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.adapters import truncate
from luthier.merging.adapters.truncate import Keep, of_factors, of_matrix


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def falling(rows: int, columns: int) -> Tensor:
    """With singular values that fall slowly, as those of differences of models do."""
    left, right = (torch.linalg.qr(random(size, min(rows, columns), seed=size)).Q for size in (rows, columns))
    return left @ torch.diag(1.0 / torch.arange(1, min(rows, columns) + 1).sqrt()) @ right.T


@pytest.mark.parametrize("ranks", [3, 12, 40])
def test_a_product_is_cut_as_the_matrix_is(ranks: int) -> None:
    A, B = random(ranks, 24, seed=1), random(16, ranks, seed=2)
    for keep in (Keep(rank=2), Keep(energy=0.8), Keep(rank=2, energy=0.99), Keep()):
        ours, theirs = of_factors(B, A, keep=keep), of_matrix(B @ A, keep=keep)
        if keep.rank or keep.energy:
            assert len(ours.A) == len(theirs.A)
        assert torch.allclose(ours.B @ ours.A, theirs.B @ theirs.A, atol=1e-4)
        assert ours.kept == pytest.approx(theirs.kept, rel=1e-5)
        assert ours.total == pytest.approx(float((B @ A).square().sum()), rel=1e-5)
        assert ours.kept == pytest.approx(float((ours.B @ ours.A).square().sum()), rel=1e-5)


def test_random_directions_keep_what_the_largest_singular_values_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = falling(300, 400)
    exact = of_matrix(matrix, keep=Keep(rank=16))
    monkeypatch.setattr(truncate, "EXACT_SIDE", 100)
    monkeypatch.setattr(torch.linalg, "svd", sides(torch.linalg.svd, at_most=32))  # never the whole matrix
    found = of_matrix(matrix, keep=Keep(rank=16))
    assert len(found.A) == 16
    assert found.kept == pytest.approx(exact.kept, rel=1e-3)
    assert found.kept <= exact.kept * (1 + 1e-6)
    again = of_matrix(matrix, keep=Keep(rank=16))
    assert torch.equal(again.A, found.A)


def sides(svd: object, at_most: int) -> object:
    def checked(matrix: Tensor, **said: object) -> object:
        assert min(matrix.shape) <= at_most
        return svd(matrix, **said)  # type: ignore[operator]

    return checked


@pytest.mark.parametrize("energy", [0.3, 0.9])
def test_a_share_of_a_large_matrix_takes_the_rank_that_it_needs(energy: float, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = falling(300, 400)
    exact = of_matrix(matrix, keep=Keep(energy=energy))
    monkeypatch.setattr(truncate, "EXACT_SIDE", 100)
    monkeypatch.setattr(truncate, "FIRST_RANK", 2)
    found = of_matrix(matrix, keep=Keep(energy=energy))
    assert abs(len(found.A) - len(exact.A)) <= 1
    assert found.kept >= energy * found.total * (1 - 1e-6)


def test_nothing_has_rank_one_and_all_its_energy() -> None:
    for found in (
        of_matrix(torch.zeros(5, 4), keep=Keep(energy=0.9)),
        of_factors(torch.zeros(5, 2), torch.zeros(2, 4), keep=Keep()),
    ):
        assert not (found.B @ found.A).any()
        assert found.kept == found.total == 0
    assert len(of_matrix(torch.zeros(5, 4), keep=Keep(energy=0.9)).A) == 1


@pytest.mark.parametrize("said", [{"rank": 0}, {"energy": 0.0}, {"energy": 1.5}])
def test_what_is_no_rank_and_no_share_is_refused(said: dict[str, float]) -> None:
    with pytest.raises(MergeError, match=next(iter(said))):
        Keep(**said)  # type: ignore[arg-type]
