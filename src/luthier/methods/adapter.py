"""Bottleneck adapters: h + s up(f(down(x))), beside a frozen base.

Three placements: after every attention and feed-forward, x being h (Houlsby et al. 2019,
https://arxiv.org/abs/1902.00751); after the feed-forward alone (Pfeiffer et al. 2020,
https://arxiv.org/abs/2005.00052); beside the feed-forward, x being its input (He et al. 2022,
https://arxiv.org/abs/2110.04366). h is what a layer adds to the residual stream.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.errors import MethodError
from luthier.methods import Method
from luthier.methods._bottleneck import Activation, Bottleneck, Ear, Form
from luthier.methods._parts import hang, switched_off
from luthier.methods._places import Place, after_attentions, feed_forwards
from luthier.models.anatomy import Block
from luthier.models.heads import learn_head
from luthier.models.selectors import select_blocks

SCALES = {"pfeiffer": 1.0, "houlsby": 1.0, "parallel": 4.0}
"""The papers'."""


class Adapter(Method):
    """A small network after, or beside, chosen layers of each block, and whatever of the head is new; the base stays
    frozen."""

    placement: Literal["pfeiffer", "houlsby", "parallel"] = "pfeiffer"
    """Where: pfeiffer: after each feed-forward; houlsby: after each attention too; parallel: beside each
    feed-forward."""
    reduction: Annotated[float, Field(gt=0)] = 16.0
    """The model's width over that of a bottleneck: 2 to 64; less learns more and costs more."""
    activation: Activation = "relu"
    """The function between down and up."""
    scale: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """What a bottleneck's answer is multiplied by; auto: 4 for parallel, else 1."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a bottleneck's inner numbers that is dropped while training."""
    norm: bool = False
    """Whether a layer norm of its own stands before each bottleneck."""
    blocks: Annotated[tuple[str, ...], Field(min_length=1)] = ("all",)
    """Blocks that get adapters: all, last-2, blocks.4-6, encoder, decoder.first-2; a list adds up."""

    def learning_rate(self, facts: Facts) -> float:
        return 1e-3 if facts.num_parameters < 50e6 else 3e-4 if facts.num_parameters < 400e6 else 1e-4

    def resolve(self, facts: Facts) -> Self:
        return self.model_copy(update={"scale": self._scale})

    @property
    def _scale(self) -> float:
        return SCALES[self.placement] if self.scale == "auto" else self.scale

    def apply(self, model: PreTrainedModel, *, generator: torch.Generator) -> None:
        model.requires_grad_(False)
        places = [
            place
            for block in select_blocks(model, self.blocks, where="method.blocks")
            for place in self._places(model, block)
        ]
        for place in places:
            self._hang(place, generator)
        learn_head(model, where="method")

    def _places(self, model: PreTrainedModel, block: Block) -> Iterator[Place]:
        if self.placement == "houlsby":
            yield from after_attentions(model, block)
        yield from feed_forwards(model, block)

    def _hang(self, place: Place, generator: torch.Generator) -> None:
        num_hidden = int(place.width / self.reduction)
        if not num_hidden:
            raise MethodError(
                f"method.reduction: {self.reduction:g} leaves nothing of this model's width of {place.width}"
            )
        reads: Ear | Literal["answer", "input"] = "input" if self.placement == "parallel" else "answer"
        if reads == "input" and place.first is not place.layer:
            hang(place.first, reads := Ear())
        form = Form(self.activation, self._scale, self.dropout, self.norm)
        device = next(place.layer.parameters()).device
        part = Bottleneck(place.width, num_hidden, form, device=device, reads=reads)
        # Uniform within +-1 / sqrt(width), as torch draws a linear layer's weight; He et al. start up at zero.
        bound = 1 / math.sqrt(place.width)
        part.down.data.copy_(torch.empty(part.down.shape).uniform_(-bound, bound, generator=generator))
        hang(place.layer, part)

    @contextmanager
    def off(self, model: PreTrainedModel) -> Iterator[None]:
        """The frozen base with the learnt head; the adapters are left out."""
        with switched_off(model, Ear), switched_off(model, Bottleneck):
            yield

    def fold(self, model: PreTrainedModel) -> None:
        raise MethodError(
            f"method: an adapter has a function ({self.activation}) inside, so it cannot become plain weights; "
            "luthier.load opens the run as it is, and method=lora learns what can be folded"
        )
