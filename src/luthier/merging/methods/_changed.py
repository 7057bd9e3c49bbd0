"""Reinforced agent merging: elements that one model changed, and those that several did. 2026,
https://arxiv.org/abs/2601.13572."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from luthier.merging.methods import Part


def changes_of(part: Part, *, least: float) -> list[Float[Tensor, "rows width"]]:
    """Each model's, 0 where it is not larger than `least`; tensors of their own."""
    return [functional.hardshrink(delta, least) for delta in part.deltas]


def counts_of(changes: Sequence[Float[Tensor, "rows width"]]) -> Float[Tensor, "rows width"]:
    """How many models changed each element."""
    counts = torch.zeros_like(changes[0])
    for change in changes:
        counts.add_(change != 0)
    return counts


def mean_of_changed(
    changes: Sequence[Float[Tensor, "rows width"]], growths: Sequence[float] | None = None
) -> Float[Tensor, "rows width"]:
    """The mean over the models that changed an element; one that only one changed times the model's growth."""
    counts = counts_of(changes)
    total = torch.zeros_like(changes[0])
    for number, change in enumerate(changes):
        if growths is not None:
            change = torch.where(counts == 1, change * growths[number], change)
        total.add_(change)
    return total.div_(counts.clamp_min_(1))
