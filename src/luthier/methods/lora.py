"""LoRA: W x + (alpha / rank) B A x. Hu et al. 2021, https://arxiv.org/abs/2106.09685.

Rank-stabilised scaling is alpha / sqrt(rank): Kalajdzievski 2023, https://arxiv.org/abs/2312.03732. The files
are PEFT's (`adapter_config.json`, `adapter_model.safetensors`), read and written by `_peft.py`.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from luthier.component import Facts
from luthier.errors import MethodError
from luthier.methods import Method, _peft
from luthier.models.anatomy import linear_sizes
from luthier.models.heads import head_to_learn
from luthier.models.selectors import select, select_linears

HELD_AS = "lora"
"""The name under which an update hangs on its layer."""


class Update(nn.Module):
    """scale * B A, the low-rank update of one layer; B starts at zero, so the layer starts unchanged."""

    def __init__(self, layer: nn.Module, rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        width_in, width_out = linear_sizes(layer)
        device = layer.get_parameter("weight").device
        self.A = nn.Parameter(torch.empty(rank, width_in, device=device))
        self.B = nn.Parameter(torch.zeros(width_out, rank, device=device))
        self.scale, self.dropout, self.on = scale, dropout, True

    def forward(
        self, x: Float[Tensor, "*rows width_in"], output: Float[Tensor, "*rows width_out"]
    ) -> Float[Tensor, "*rows width_out"]:
        """The layer's output for `x` with the update in it."""
        x = F.dropout(x, self.dropout, self.training)
        narrow = F.linear(x.to(self.A.dtype), self.A) * self.scale  # where a product has the fewest numbers
        if output.dtype != self.B.dtype:
            return output + F.linear(narrow, self.B).to(output.dtype)
        rows = torch.addmm(output.flatten(end_dim=-2), narrow.flatten(end_dim=-2), self.B.T)
        return rows.view_as(output)

    def weight(self) -> Float[Tensor, "width_out width_in"]:
        """The update as one matrix."""
        return (self.B @ self.A) * self.scale


def _add_update(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    update = getattr(layer, HELD_AS)
    return update(inputs[0], output) if update.on else output


class Lora(Method):
    """A low-rank update beside chosen linear layers, and whatever of the head is new; the base stays frozen."""

    rank: Annotated[int, Field(gt=0)] = 16
    """Rank of each update: 2 to 256; more learns more and costs more."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """Scale of the updates: they are multiplied by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of an update's inputs that is dropped while training."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("all-linear",)
    """Linear layers that get an update, in the words of the selector language."""
    bias: Literal["none", "all", "targets"] = "none"
    """Biases that learn too."""
    rank_stabilized: bool = False
    """Scale by alpha / sqrt(rank), so that high ranks learn as fast as low ones."""

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilized else self.rank)

    def learning_rate(self, facts: Facts) -> float:
        return 1e-3 if facts.num_parameters < 50e6 else 2e-4

    def apply(self, model: PreTrainedModel, *, generator: torch.Generator) -> None:
        model.requires_grad_(False)
        for name in select_linears(model, self.targets, where="method.targets"):
            layer = model.get_submodule(name)
            update = Update(layer, self.rank, self.scale, self.dropout)
            # The paper's A; PEFT draws the same, uniform within +-1 / sqrt(width_in).
            bound = 1 / math.sqrt(update.A.shape[1])
            update.A.data.copy_(torch.empty(update.A.shape).uniform_(-bound, bound, generator=generator))
            layer.register_module(HELD_AS, update)
            layer.register_forward_hook(_add_update)
            if self.bias != "none" and layer.bias is not None:
                layer.bias.requires_grad_(True)
        if self.bias == "all":
            for name in select(model, ("bias",), where="method.bias"):
                model.get_parameter(name).requires_grad_(True)
        for name in head_to_learn(model, where="method"):
            model.get_parameter(name).requires_grad_(True)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()

    @contextmanager
    def off(self, model: PreTrainedModel) -> Iterator[None]:
        """The frozen base with the learnt head; the updates are left out."""
        if self.bias != "none":
            raise MethodError(
                f"method: lora with bias={self.bias} changes the base model itself; it cannot be switched off"
            )
        updates = [update for _, update in updates_of(model)]
        for update in updates:
            update.on = False
        try:
            yield
        finally:
            for update in updates:
                update.on = True

    @torch.no_grad()
    def fold(self, model: PreTrainedModel) -> None:
        for layer, update in updates_of(model):
            weight = update.weight().T if isinstance(layer, Conv1D) else update.weight()
            layer.weight.data = (layer.weight.float() + weight).to(layer.weight.dtype)
            delattr(layer, HELD_AS)
            for key in [k for k, hook in layer._forward_hooks.items() if hook is _add_update]:
                del layer._forward_hooks[key]

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        _peft.save(model, folder, self._peft_config(model), HELD_AS)

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        _peft.load(model, folder, HELD_AS)

    def _peft_config(self, model: PreTrainedModel) -> dict[str, Any]:
        return {
            "peft_type": "LORA",
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "use_rslora": self.rank_stabilized,
            "bias": {"none": "none", "all": "all", "targets": "lora_only"}[self.bias],
        }


def updates_of(model: nn.Module) -> list[tuple[Any, Update]]:
    """Every layer that has an update, with it."""
    return [(layer, layer.get_submodule(HELD_AS)) for layer in model.modules() if hasattr(layer, HELD_AS)]  # type: ignore[misc]
