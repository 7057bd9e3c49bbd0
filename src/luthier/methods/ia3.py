"""(IA)^3: keys, values and the inner activations of the feed-forward layers are scaled, number by number.

softmax(q (l_k k)^T) (l_v v), and W_out (l_ff act(W_in x)). Liu et al. 2022, https://arxiv.org/abs/2205.05638. The
files are PEFT's (`peft_type` IA3), read and written by `_peft_ia3.py`.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.errors import MethodError
from luthier.methods import Method, _peft_ia3
from luthier.methods._parts import hang, parts_of, switched_off, take_down
from luthier.methods._scales import Scale, ScaledAnswer, ScaledInput
from luthier.methods._whole import learn_whole
from luthier.models.anatomy import read
from luthier.models.heads import learn_head
from luthier.models.selectors import select_linears
from luthier.models.weights import plain_weight, set_plain_weight

OUT = "feed-forward.out"
SCALED = tuple(f"{side}.{part}" for side in ("attention", "cross-attention") for part in ("key", "value", "qkv"))
"""Roles whose answers are scaled; of fused ones all thirds, as PEFT has it: so their order need not be known."""


class Ia3(Method):
    """Scales of keys, values and inner activations, and whatever of the head is new; the base stays frozen."""

    targets: Literal["auto"] | Annotated[tuple[str, ...], Field(min_length=1)] = "auto"
    """Linear layers whose answers are scaled, in the words of the selector language; auto: keys and values."""
    feed_forward: tuple[str, ...] = (OUT,)
    """Linear layers whose inputs are scaled; of a layer that is in both lists, the input is."""
    also_train: tuple[str, ...] = ()
    """Modules that learn as a whole beside the scales, as norm or embedding."""

    def learning_rate(self, facts: Facts) -> float:
        return 1e-2 if facts.num_parameters < 50e6 else 5e-3

    def apply(self, model: PreTrainedModel, *, generator: torch.Generator) -> None:
        model.requires_grad_(False)
        if OUT in self.feed_forward and OUT not in read(model).roles:
            raise MethodError(
                f"method.feed_forward: no layer of this model is a {OUT}, as where experts are one tensor; say "
                "method.feed_forward=[], and keys and values alone are scaled"
            )
        given = select_linears(model, self.feed_forward, where="method.feed_forward")
        answers = select_linears(model, self._targets(model), where="method.targets")
        for name in given:
            hang(model.get_submodule(name), ScaledInput.for_layer(model.get_submodule(name)))
        for name in answers:
            if name not in given:
                hang(model.get_submodule(name), ScaledAnswer.for_layer(model.get_submodule(name)))
        learn_head(model, where="method")
        if self.also_train:
            learn_whole(model, self.also_train, (*given, *answers), where="method.also_train")

    def _targets(self, model: PreTrainedModel) -> tuple[str, ...]:
        if self.targets != "auto":
            return self.targets
        return tuple(role for role in SCALED if role in read(model).roles)

    def off(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        """The frozen base with the learnt head; the scales are left out."""
        if self.also_train:
            said = f"ia3 with also_train={', '.join(self.also_train)}"
            raise MethodError(f"method: {said} changes the base model itself; it cannot be switched off")
        return switched_off(model, Scale)

    @torch.no_grad()
    def fold(self, model: PreTrainedModel) -> None:
        for layer, scale in parts_of(model, Scale):
            if isinstance(scale, ScaledInput):
                set_plain_weight(layer, plain_weight(layer) * scale.l)
            else:
                set_plain_weight(layer, plain_weight(layer) * scale.l[:, None])
                if layer.bias is not None:
                    layer.bias.data = (layer.bias.float() * scale.l).to(layer.bias.dtype)
            take_down(layer, scale)

    @classmethod
    def read(cls, folder: Path) -> Self:
        return cls.model_validate(_peft_ia3.read_settings(folder))

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        _peft_ia3.save(model, folder)

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        _peft_ia3.load(model, folder)
