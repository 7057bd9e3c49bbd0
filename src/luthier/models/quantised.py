"""Linear layers whose weight is held in 4 or 8 bits, and made plain again for every product with it.

nf4: w = s l, where 64 numbers share a scale s, and l is one of 16 levels, the quantiles of a normal distribution. The
scales are held in 8 bits themselves, 256 of them with a scale of their own: 4 + 8/64 + 32/(64 * 256) = 4.127 bits a
weight. Dettmers et al. 2023, https://arxiv.org/abs/2305.14314.
int8: w = s q / 127, with a scale for each row. Dettmers et al. 2022, https://arxiv.org/abs/2208.07339. Of LLM.int8()
these are the weights alone: a product is computed in the arithmetic of the run, so no input is rounded, and no outlier
has to be held apart.

Such a layer is the plain layer it was made of, under another class: its name, its bias and whatever hangs on it stay.
"""

from functools import cache
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int8, UInt8
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from luthier.extras import bitsandbytes

Quantization = Literal["nf4", "int8"]

BLOCK, SCALES_BLOCK = 64, 256
"""Numbers that share a scale, and scales that share one."""
BITS = {"nf4": 4 + 8 / BLOCK + 32 / (BLOCK * SCALES_BLOCK), "int8": 8.0}
"""Of each weight; int8's scales, 32 bits a row, come on top."""
AT_ONCE = SCALES_BLOCK * BLOCK * 256
"""Numbers that are quantised at once: on a CPU that takes twenty bytes for each."""
PLAIN = (nn.Linear, Conv1D)
"""What can be quantised: these very classes, as one of their kin may use its weight in its own way."""


class Quantised(nn.Linear):
    """A linear layer that is held in few bits; it never learns, but gradients pass through it."""

    kind: ClassVar[Quantization]
    plain_class: type[nn.Module]
    """What it was, and becomes again."""
    plain_dtype: torch.dtype
    """How its weight was held before."""

    def pack(self, weight: Float[Tensor, "width_out width_in"]) -> None:
        """Hold this weight in few bits from now on, on its device."""
        raise NotImplementedError

    def dequantised(self, dtype: torch.dtype) -> Float[Tensor, "width_out width_in"]:
        """The weight that the layer computes with."""
        raise NotImplementedError

    def forward(self, x: Float[Tensor, "*rows width_in"]) -> Float[Tensor, "*rows width_out"]:
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        bias = None if self.bias is None else self.bias.to(x.dtype)
        product: Any = _Product.apply
        answer: Tensor = product(x, bias, self)
        return answer

    def _hold(self, packed: Int8[Tensor, "..."], **scales: Tensor) -> None:
        # int8 in name even where a byte holds two numbers: T5 casts its states to the type of a weight, but not to it.
        self.weight = nn.Parameter(packed, requires_grad=False)
        for name, tensor in scales.items():
            self.register_buffer(name, tensor, persistent=False)


class Nf4Linear(Quantised):
    """Four bits a weight, and scales in eight."""

    kind = "nf4"
    scales: UInt8[Tensor, " blocks"]
    coarse: Float[Tensor, " scale_blocks"]
    levels: Float[Tensor, " 256"]
    offset: Float[Tensor, ""]

    def pack(self, weight: Float[Tensor, "width_out width_in"]) -> None:
        bitsandbytes("model.quantize: nf4")
        quantise, levels = torch.ops.bitsandbytes, _levels().to(weight.device)
        pieces = [quantise.quantize_4bit(part, BLOCK, "nf4", torch.uint8) for part in weight.flatten().split(AT_ONCE)]
        scales = torch.cat([scales for _, scales in pieces])
        offset = scales.mean()
        fine, coarse = quantise.quantize_blockwise(scales - offset, levels, SCALES_BLOCK)
        packed = torch.cat([packed for packed, _ in pieces]).flatten().view(torch.int8)
        is_even = self.in_features % 2 == 0
        self._hold(
            packed.view(self.out_features, -1) if is_even else packed,
            **{"scales": fine, "coarse": coarse, "levels": levels, "offset": offset},
        )

    def dequantised(self, dtype: torch.dtype) -> Float[Tensor, "width_out width_in"]:
        quantise, shape = torch.ops.bitsandbytes, (self.out_features, self.in_features)
        scales = quantise.dequantize_blockwise(self.scales, self.coarse, self.levels, SCALES_BLOCK, torch.float32)
        packed = self.weight.detach().view(torch.uint8).view(-1, 1)
        is_even = self.in_features % 2 == 0  # else bitsandbytes would compile a way of its own
        laid = shape if is_even else (1, 2 * packed.numel())
        weight: Tensor = quantise.dequantize_4bit(packed, scales + self.offset, BLOCK, "nf4", laid, dtype)
        return weight if is_even else weight.flatten()[: shape[0] * shape[1]].view(shape)


class Int8Linear(Quantised):
    """Eight bits a weight, and a scale for each row."""

    kind = "int8"
    scales: Float[Tensor, " width_out"]

    def pack(self, weight: Float[Tensor, "width_out width_in"]) -> None:
        bitsandbytes("model.quantize: int8")
        rows = weight.split(max(1, AT_ONCE // self.in_features))
        pieces = [torch.ops.bitsandbytes.int8_vectorwise_quant(part.half(), 0.0)[:2] for part in rows]
        packed, scales = (torch.cat(each) for each in zip(*pieces, strict=True))
        self._hold(packed, scales=scales)

    def dequantised(self, dtype: torch.dtype) -> Float[Tensor, "width_out width_in"]:
        return self.weight.detach().to(dtype) * (self.scales / 127)[:, None].to(dtype)


@cache
def _levels() -> Float[Tensor, " 256"]:
    """The 256 values that a scale has a share of; they are real numbers, be there fake tensors around."""
    with unset_fake_temporarily():
        levels: Tensor = bitsandbytes("model.quantize: nf4").functional.create_dynamic_map()
    return levels


KINDS: dict[Quantization, type[Quantised]] = {"nf4": Nf4Linear, "int8": Int8Linear}


def make_quantised(layer: nn.Module, kind: Quantization, device: torch.device | str) -> None:
    """A plain linear layer becomes a quantised one on a device, in its place; its bias stays where it is."""
    assert type(layer) in PLAIN, f"{type(layer).__name__} is no plain linear layer"
    weight, before = layer.get_parameter("weight").detach().to(device), type(layer)
    weight = weight.T.contiguous() if before is Conv1D else weight
    layer.__class__ = KINDS[kind]
    assert isinstance(layer, Quantised)
    layer.out_features, layer.in_features = weight.shape
    layer.plain_class, layer.plain_dtype = before, weight.dtype
    layer.pack(weight)


def make_plain(layer: Quantised, weight: Float[Tensor, "width_out width_in"]) -> None:
    """A quantised layer becomes what it was, with this weight, held as it was then; whatever hangs on it stays."""
    weight = weight.to(layer.plain_dtype)
    before = layer.plain_class
    for name in [name for name in layer._buffers if name in type(layer).__annotations__]:
        delattr(layer, name)
    layer.weight = nn.Parameter(weight.T.contiguous() if before is Conv1D else weight, requires_grad=False)
    del layer.plain_class, layer.plain_dtype
    layer.__class__ = before  # type: ignore[assignment]


class _Product(torch.autograd.Function):
    """x W^T + b, whose backward pass makes the plain weight anew in place of keeping it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, layer: Quantised) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.dequantised(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = above
        to_x = gradient @ ctx.layer.dequantised(gradient.dtype) if ctx.needs_input_grad[0] else None
        to_bias = gradient.flatten(end_dim=-2).sum(0) if ctx.needs_input_grad[1] else None
        return to_x, to_bias, None
