"""What a low-rank update begins with."""

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from luthier.errors import MethodError
from luthier.methods._low_rank import Update
from luthier.models.weights import plain_weight

WHOLE = 1024
"""Widest map, on its narrow side, whose singular vectors are all computed; of wider ones the principal alone."""
NUM_MORE, NUM_PASSES = 16, 8
"""Directions beyond the rank, and passes over the map, with which its principal part is searched."""


def begin(update: Update, layer: nn.Module, start: str, *, generator: Generator) -> None:
    """Fill an update, of which nothing is added to its layer yet. An embedding always starts at zero.

    Raises MethodError where the rank is too high for the start.
    """
    if isinstance(layer, nn.Embedding):  # the paper's factors change places: what is looked up is the one at zero
        update.A.data.zero_()
        update.B.data.copy_(torch.empty(update.B.shape).normal_(generator=generator))
    elif start == "pissa":
        begin_principal(update, layer, generator=generator)
    else:
        # The paper's A; PEFT draws the same, uniform within +-1 / sqrt(width_in).
        bound = 1 / math.sqrt(update.A.shape[1])
        update.A.data.copy_(torch.empty(update.A.shape).uniform_(-bound, bound, generator=generator))


def begin_principal(update: Update, layer: nn.Module, *, generator: Generator) -> None:
    """PiSSA: scale * B A is the best approximation of the layer's map at this rank, shared out evenly.

    Meng et al. 2024, https://arxiv.org/abs/2404.02948. There the base keeps the residual W - scale * B0 A0 and the
    update adds scale * B A; here the base keeps W and the update adds scale * (B A - B0 A0): the same sum, the same
    gradients, and neither the base's bits nor its precision are touched.
    """
    weight, rank = plain_weight(layer), len(update.A)
    if rank > min(weight.shape):
        raise MethodError(
            f"method.rank: start=pissa takes the singular vectors of each layer, and one here has {min(weight.shape)} "
            f"of them, fewer than {rank}; lower method.rank, or say method.start=zero"
        )
    left, values, right = _principal(weight, rank, generator)
    root = (values / update.scale).sqrt()
    update.A.data.copy_(root[:, None] * right)
    update.B.data.copy_(left * root)
    update.begin_here()


def _principal(
    weight: Float[Tensor, "out in"], rank: int, generator: Generator
) -> tuple[Float[Tensor, "out rank"], Float[Tensor, " rank"], Float[Tensor, "rank in"]]:
    """The largest singular values with their vectors.

    Of a wide map by subspace iteration: Halko, Martinsson and Tropp 2011, https://arxiv.org/abs/0909.4061.
    """
    if min(weight.shape) <= max(WHOLE, rank + NUM_MORE):
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        return left[:, :rank], values[:rank], right[:rank]
    drawn = torch.empty(weight.shape[1], rank + NUM_MORE).normal_(generator=generator)
    basis = torch.linalg.qr(weight @ drawn.to(weight.device))[0]
    for _ in range(NUM_PASSES):
        basis = torch.linalg.qr(weight @ torch.linalg.qr(weight.T @ basis)[0])[0]
    left, values, right = torch.linalg.svd(basis.T @ weight, full_matrices=False)
    return (basis @ left)[:, :rank], values[:rank], right[:rank]
