"""The best approximation of a matrix by a given rank: its largest singular values. Eckart and Young 1936,
https://doi.org/10.1007/BF02288367.

Of a sum of products, sum B_i A_i, by QR of the concatenated factors, so that the matrix itself is never formed. Of a
large matrix from few random directions: Halko, Martinsson and Tropp 2011, https://arxiv.org/abs/0909.4061.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from luthier.errors import MergeError

EXACT_SIDE = 1024
"""Up to it the shorter side of a matrix is decomposed whole: seconds."""
OVERSAMPLING, NUM_POWERS, FIRST_RANK = 16, 6, 64
"""More directions than are kept; products with the matrix and its transpose, which sharpen a slowly falling spectrum;
the first rank that is tried where a share is wanted."""


@dataclass(frozen=True)
class Keep:
    """How many singular values stay: the largest `rank`, or as few as hold a share `energy` of the sum of squares;
    with both, whichever are fewer; with neither, all."""

    rank: int | None = None
    energy: float | None = None

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise MergeError(f"rank: {self.rank} is not above 0")
        if self.energy is not None and not 0 < self.energy <= 1:
            raise MergeError(f"energy: {self.energy} is not a share, above 0 and up to 1")

    def num(self, values: Float[Tensor, "values"], total: float) -> int:
        """How many of the falling values stay; one at least."""
        wanted = min(len(values), self.rank or len(values))
        if self.energy is not None:
            held = values.double().square().cumsum(0)
            wanted = min(wanted, int((held < self.energy * total * (1 - 1e-9)).sum()) + 1)
        return max(1, wanted)


@dataclass(frozen=True)
class Truncated:
    """B A, nearest to a matrix; both factors carry the roots of the singular values."""

    A: Float[Tensor, "rank width_in"]
    B: Float[Tensor, "width_out rank"]
    kept: float
    """Sum of the squares of the singular values that stay."""
    total: float
    """Of all."""


def of_factors(B: Float[Tensor, "width_out ranks"], A: Float[Tensor, "ranks width_in"], *, keep: Keep) -> Truncated:
    """Of the product B A, which is not formed; float64 inside."""
    columns, upper = torch.linalg.qr(B.double())
    rows, other = torch.linalg.qr(A.double().T)
    left, values, right = torch.linalg.svd(upper @ other.T, full_matrices=False)
    return _cut(columns @ left, values, right @ rows.T, float(values.square().sum()), keep)


def of_matrix(matrix: Float[Tensor, "width_out width_in"], *, keep: Keep) -> Truncated:
    """Exact where the matrix is small or much of it stays, else by random directions that are always the same."""
    total, side = float(matrix.double().square().sum()), min(matrix.shape)
    rank = min(keep.rank or side, side) if keep.energy is None else min(keep.rank or side, FIRST_RANK)
    while side > EXACT_SIDE and 4 * rank <= side:
        left, values, right = _by_random_directions(matrix, rank)
        found = float(values.double().square().sum())
        if keep.energy is None or rank == keep.rank or found >= keep.energy * total:
            return _cut(left, values, right, total, keep)
        rank = min(2 * rank, keep.rank or side)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return _cut(left, values, right, total, keep)


def _by_random_directions(matrix: Float[Tensor, "rows columns"], rank: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(matrix.shape[1], rank + OVERSAMPLING, generator=generator, dtype=matrix.dtype)
    basis = torch.linalg.qr(matrix @ start).Q
    for _ in range(NUM_POWERS):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ basis).Q).Q
    left, values, right = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    return (basis @ left)[:, :rank], values[:rank], right[:rank]


def _cut(left: Tensor, values: Tensor, right: Tensor, total: float, keep: Keep) -> Truncated:
    num = keep.num(values, total)
    roots = values[:num].sqrt()
    A, B = roots[:, None] * right[:num], left[:, :num] * roots
    return Truncated(A.float().contiguous(), B.float().contiguous(), float(values[:num].double().square().sum()), total)
