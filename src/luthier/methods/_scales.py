"""A learnt scale of what a layer answers, or of what it is given, number by number; it begins at 1."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from luthier.methods._parts import Part
from luthier.models.anatomy import linear_sizes


class Scale(Part):
    """x -> l x; which x, the kinds below say."""

    held_as: ClassVar[str] = "ia3"
    keeps_precision: ClassVar[bool] = True

    def __init__(self, width: int, device: torch.device) -> None:
        super().__init__()
        self.l = nn.Parameter(torch.ones(width, device=device))

    def of(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """The scaled x, in its own precision: bf16 knows 1 + 0.001 only as 1, but 0.001 well."""
        if x.dtype == self.l.dtype:
            return x * self.l
        return x + x * (self.l - 1).to(x.dtype)


class ScaledAnswer(Scale):
    """l (W x + b)."""

    def changed(self, layer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], answer: Any) -> Any:
        return self.of(answer)

    @classmethod
    def for_layer(cls, layer: nn.Module) -> "ScaledAnswer":
        return cls(linear_sizes(layer)[1], layer.get_parameter("weight").device)


class ScaledInput(Scale):
    """W (l x) + b."""

    hears: ClassVar[bool] = False
    gives: ClassVar[bool] = True

    def given(self, layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return self.of(args[0]), *args[1:]

    @classmethod
    def for_layer(cls, layer: nn.Module) -> "ScaledInput":
        return cls(linear_sizes(layer)[0], layer.get_parameter("weight").device)
