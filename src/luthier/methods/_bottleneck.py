"""A bottleneck as it hangs on a layer: the layer's answer plus scale * up(f(down(x)))."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from luthier.methods._parts import Part

Activation = Literal["relu", "gelu", "silu", "tanh"]
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu, "tanh": torch.tanh}


@dataclass(frozen=True)
class Form:
    """What the bottlenecks of a model have in common."""

    activation: Activation
    scale: float
    dropout: float
    norm: bool


class Ear(Part):
    """Keeps what its layer was given until the bottleneck of the same feed-forward asks for it."""

    held_as: ClassVar[str] = "adapter_ear"

    def __init__(self) -> None:
        super().__init__()
        self.heard: Tensor | None = None

    def changed(self, layer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], answer: Any) -> Any:
        self.heard = args[0]
        return answer

    def tell(self) -> Tensor:
        """What was heard; it is not kept any longer, as it would keep a batch's activations in memory."""
        heard, self.heard = self.heard, None
        assert heard is not None, "a feed-forward's first layer runs before its last one"
        return heard


class Bottleneck(Part):
    """scale * up(f(down(x))) of one layer; up starts at zero, so the layer starts unchanged."""

    held_as: ClassVar[str] = "adapter"

    def __init__(
        self, width: int, num_hidden: int, form: Form, *, device: torch.device, reads: Ear | Literal["answer", "input"]
    ) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(num_hidden, width, device=device))
        self.down_bias = nn.Parameter(torch.zeros(num_hidden, device=device))
        self.up = nn.Parameter(torch.zeros(width, num_hidden, device=device))
        self.up_bias = nn.Parameter(torch.zeros(width, device=device))
        if form.norm:
            self.norm_weight = nn.Parameter(torch.ones(width, device=device))
            self.norm_bias = nn.Parameter(torch.zeros(width, device=device))
        self.form = form
        self._reads = (reads,)  # in a tuple, as an ear belongs to another layer and is no child of this one

    def changed(self, layer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], answer: Any) -> Any:
        # A mixture of experts may answer with its router's scores beside its output.
        output, *rest = answer if isinstance(answer, tuple) else (answer,)
        (reads,) = self._reads
        if isinstance(reads, Ear):
            x = reads.tell()
        else:
            x = output if reads == "answer" else args[0] if args else next(iter(kwargs.values()))
        changed = self(x, output)
        return (changed, *rest) if isinstance(answer, tuple) else changed

    def forward(
        self, x: Float[Tensor, "*rows width"], output: Float[Tensor, "*rows width"]
    ) -> Float[Tensor, "*rows width"]:
        """The layer's output with what the bottleneck makes of `x` in it."""
        x = x.to(self.down.dtype)
        if self.form.norm:
            x = F.layer_norm(x, x.shape[-1:], self.norm_weight, self.norm_bias)
        narrow = _FUNCTIONS[self.form.activation](F.linear(x, self.down, self.down_bias))
        narrow = F.dropout(narrow, self.form.dropout, self.training)
        update = F.linear(narrow, self.up, self.up_bias)
        return output + (update * self.form.scale if self.form.scale != 1 else update).to(output.dtype)
