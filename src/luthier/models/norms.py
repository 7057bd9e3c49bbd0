"""Root-mean-square norms with a backward pass of their own: x / sqrt(mean(x^2) + eps) * w.

Operation by operation a norm's backward pass takes some twenty passes over its states, and keeps them in fp32; here it
takes eight, and keeps the states as they came. Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467.
No table says which modules are such norms: each is tried, once.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

ROUNDING = 1e-5
"""Largest difference of numbers near 1 that is rounding in fp32."""


@dataclass(frozen=True)
class Norm:
    """What a module computes."""

    eps: float
    offset: float
    """Added to the weight: 1 where weights are learnt as differences from 1."""


_known: WeakKeyDictionary[nn.Module, Norm | None] = WeakKeyDictionary()


@contextmanager
def fused(model: nn.Module) -> Iterator[None]:
    """Within it the model's norms are computed here, each with the weight that it then has."""
    found = [(module, norm) for module in model.modules() if (norm := norm_of(module)) is not None]
    for module, norm in found:
        vars(module)["forward"] = _forward(module, norm)
    try:
        yield
    finally:
        for module, _ in found:
            del vars(module)["forward"]


def norm_of(module: nn.Module) -> Norm | None:
    """What root-mean-square norm a module is; None where it is none, or somebody changed its forward pass."""
    if "forward" in vars(module) or module._parameters.keys() != {"weight"} or module._modules or module._buffers:
        return None
    if module not in _known:
        weight = module._parameters["weight"]
        is_vector = weight is not None and weight.ndim == 1
        _known[module] = _tried(module, len(weight)) if weight is not None and is_vector else None
    return _known[module]


def _tried(module: nn.Module, width: int) -> Norm | None:
    """What it says to two random states, one so small that eps counts, under random weights."""
    told = [value for name, value in vars(module).items() if "eps" in name and isinstance(value, float)]
    if len(told) != 1:
        return None
    random = torch.Generator().manual_seed(0)
    states, weight = torch.randn(2, width, generator=random), torch.rand(width, generator=random)
    states[1] *= told[0] ** 0.5
    twin = copy.copy(module)
    twin._parameters = {"weight": nn.Parameter(weight, requires_grad=False)}
    try:
        with torch.no_grad():
            answer = twin.forward(states)
            for norm in (Norm(told[0], 0.0), Norm(told[0], 1.0)):
                own = _normed(states, weight, norm)[0]
                if (
                    answer.dtype == own.dtype
                    and answer.shape == own.shape
                    and bool((answer - own).abs().max() < ROUNDING)
                ):
                    return norm
    except Exception:  # it takes something else than states, so it is something else
        return None
    return None


def _forward(module: nn.Module, norm: Norm) -> Any:
    def forward(states: Tensor) -> Tensor:
        normed: Any = _Norm.apply
        answer: Tensor = normed(states, module.weight, norm)
        return answer

    return forward


def _normed(states: Tensor, weight: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    """A norm's answer, and what each state was multiplied by."""
    wide = states.to(torch.float32, copy=True)
    scale = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(wide.shape[-1]).add_(norm.eps).rsqrt_()
    return wide.mul_(scale).mul_(_factor(weight, norm)).to(states.dtype), scale


def _factor(weight: Tensor, norm: Norm) -> Tensor:
    return weight.float() + norm.offset if norm.offset else weight.float()


class _Norm(torch.autograd.Function):
    """In fp32 within, whatever the states are held in."""

    @staticmethod
    def forward(
        ctx: Any, states: Float[Tensor, "*rows width"], weight: Float[Tensor, " width"], norm: Norm
    ) -> Float[Tensor, "*rows width"]:
        answer, scale = _normed(states, weight, norm)
        ctx.save_for_backward(states, weight, scale)
        ctx.norm = norm
        return answer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Float[Tensor, "*rows width"]) -> tuple[Tensor | None, ...]:
        states, weight, scale = ctx.saved_tensors
        normed, d_weight = states.to(torch.float32, copy=True).mul_(scale), None
        slope = above.to(torch.float32, copy=True)
        if ctx.needs_input_grad[1]:
            d_weight = (slope * normed).flatten(end_dim=-2).sum(0).to(weight.dtype)
        slope.mul_(_factor(weight, ctx.norm))
        along = (slope * normed).mean(-1, keepdim=True)
        return slope.addcmul_(normed, along, value=-1.0).mul_(scale).to(states.dtype), d_weight, None
