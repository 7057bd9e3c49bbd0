"""The election of signs: at each element the models vote for a sign, and those that have it are merged.

γ = sgn(Σ vᵢ), merged = Σ wᵢ τᵢ [sgn vᵢ = γ] / n: a vote vᵢ is the change τᵢ itself, wᵢ τᵢ, or only its sign; n is the
sum of the weights that agree, their count, or 1. Yadav et al. 2023, https://arxiv.org/abs/2306.01708.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from luthier.merging.methods._blocks import blocks

Sign = Literal["sum", "weighted", "count"]
"""What decides: the sum of the changes, of the changes times the weights, or of their signs."""
Normalize = Literal["weights", "count", "none"]
"""What a sum is divided by: the weights in it, their count, or nothing."""


def elected(
    changes: Sequence[Float[Tensor, "rows width"]],
    weights: Sequence[float],
    *,
    sign: Sign,
    normalize: Normalize,
    undecided: float = 1.0,
) -> Float[Tensor, "rows width"]:
    """The changes that have the elected sign, merged, in a tensor of its own; `undecided` wins where votes are 0."""
    merged = torch.empty_like(changes[0])
    into, flat = merged.view(-1), [change.reshape(-1) for change in changes]
    for block in blocks(into.numel()):
        _elect(into[block], [change[block] for change in flat], weights, sign, normalize, undecided)
    return merged


def votes(changes: Sequence[Float[Tensor, "rows width"]], weights: Sequence[float], *, sign: Sign) -> int:
    """Elements that decide for plus, less those that decide for minus."""
    flat = [change.reshape(-1) for change in changes]
    totals = (_total([change[block] for change in flat], weights, sign) for block in blocks(flat[0].numel()))
    return sum(int(total.sign_().nansum()) for total in totals)  # whole numbers far below those that fp32 has


def _total(changes: Sequence[Tensor], weights: Sequence[float], sign: Sign) -> Float[Tensor, " block"]:
    total = torch.zeros_like(changes[0])
    for change, weight in zip(changes, weights, strict=True):
        if sign == "count":
            total.add_(change.sign())
        else:
            total.add_(change, alpha=weight if sign == "weighted" else 1.0)
    return total


def _elect(
    into: Float[Tensor, " block"],
    changes: Sequence[Float[Tensor, " block"]],
    weights: Sequence[float],
    sign: Sign,
    normalize: Normalize,
    undecided: float,
) -> None:
    total = _total(changes, weights, sign)
    # Comparisons in place give 0 and 1 as numbers: several times as fast as by way of a mask.
    chosen = (total.gt_(0) if undecided < 0 else total.ge_(0)).mul_(2).sub_(1)
    into.zero_()
    divisor = torch.zeros_like(into) if normalize != "none" else None
    for change, weight in zip(changes, weights, strict=True):
        agreeing = change * chosen
        if sign == "weighted" and weight < 0:  # such a model votes against its own change
            agreeing.clamp_max_(0)
        else:
            agreeing.clamp_min_(0)
        into.add_(agreeing, alpha=weight)
        if divisor is not None:
            divisor.add_(agreeing.sign_().abs_(), alpha=weight if normalize == "weights" else 1.0)
    if divisor is not None:
        least = min(weights) if normalize == "weights" else 1.0
        is_clear = least / 2 >= torch.finfo(divisor.dtype).tiny
        none_agrees = divisor.clamp_min_(least / 2) if is_clear else divisor.masked_fill_(divisor == 0, 1.0)
        into.div_(none_agrees)
    into.mul_(chosen)
