"""Arcee fusion: of each tensor the numbers that changed most in importance, and the base's for the others.

importance = |θ - θ0| KL(softmax(θ) || softmax(θ0)), the softmax over the last axis; taken is what reaches
median + 1.5 (Q3 - Q1) over the tensor. Arcee AI 2024, https://arcee.ai, as mergekit has it. There the quartiles of a
tensor of over a million numbers are those of a random sample; here they are exact, whatever the parts, and the
divergence is taken in float64, since between near models it is smaller than fp32's rounding.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from luthier.merging.methods import Merge, Part, Tensors
from luthier.merging.methods._blocks import BLOCK
from luthier.merging.methods._order import order_statistics

_EPS = 1e-8
"""Added to each probability."""


class ArceeFusion(Merge):
    """The base, and the important ones of what a model learnt, unscaled."""

    needs_base = "yes"
    num_models = (1, 1)

    def measure(self, tensors: Tensors, surveyed: Any) -> tuple[int, float]:
        """Length of the last axis, and the threshold, exact over all parts: two passes count importances' bits."""
        last = tensors.shape[-1] if tensors.shape else 1

        def pieces() -> Iterator[Tensor]:
            return (_importance(part, last) for part in tensors)

        def quartiles(num: int) -> list[int]:
            return [int(share * (num - 1)) for share in (0.25, 0.5, 0.75)] if num else []

        found = order_statistics(pieces, quartiles)
        return last, found[1] + 1.5 * (found[2] - found[0]) if found else 0.0

    def merge(self, part: Part, measured: tuple[int, float]) -> Float[Tensor, "rows width"]:
        """The model's numbers where they are important."""
        last, threshold = measured
        assert part.base is not None
        return torch.where(_importance(part, last).float() >= threshold, part.models[0], part.base)


def _importance(part: Part, last: int) -> Float[Tensor, "rows width"]:
    """Of each number; worked out for some rows at a time, as float64 is large."""
    assert part.base is not None
    model, base = (each.reshape(-1, last) if last else each for each in (part.models[0], part.base))
    num = max(1, BLOCK // max(1, last))
    pieces = [
        (one - other).abs() * _divergence(one, other).to(one)
        for one, other in zip(model.split(num), base.split(num), strict=True)
    ]
    return torch.cat(pieces).reshape(part.base.shape)


def _divergence(model: Float[Tensor, "vectors last"], base: Float[Tensor, "vectors last"]) -> Tensor:
    p, q = (torch.softmax(each.double(), dim=-1) + _EPS for each in (model, base))
    return (p * torch.log(p / q)).sum(-1, keepdim=True).clamp(min=0)
