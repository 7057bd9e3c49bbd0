"""Partial fine-tuning: chosen parts learn, the rest stays as it was, bit by bit. Lee et al. 2023 show when fewer
layers do better than all: https://arxiv.org/abs/2210.11466."""

from typing import Annotated

import torch
from pydantic import Field
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.methods import Method
from luthier.models.selectors import select


class Partial(Method):
    """Chosen parts learn, by the names of the selector language; the rest is frozen."""

    train: Annotated[tuple[str, ...], Field(min_length=1)] = ("head",)
    """Parts that learn: head, last-2, attention, norm, bias, encoder, blocks.4-6, names, re:...; a list adds up."""

    def learning_rate(self, facts: Facts) -> float:
        return 1e-2 if self.train == ("head",) else 2e-4 if facts.num_parameters < 50e6 else 5e-5

    def apply(self, model: PreTrainedModel, *, generator: torch.Generator) -> None:
        chosen = set(select(model, self.train, where="method.train"))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in chosen)
            if name in chosen:
                parameter.data = parameter.data.float()
