"""A classifier over sentence vectors, as a part that hangs on a model in place of the head it came with."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from luthier.models.sentences import Sentences

NAME = "sentence_head"
"""The child of a model that is one."""


class SentenceHead(nn.Module):
    """Logits = W v + b of a text's vector v; what W and b are is settled after the vectors are."""

    keeps_precision = True

    def __init__(self, how: Sentences, width: int, num_labels: int) -> None:
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(torch.zeros(num_labels, width), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(num_labels), requires_grad=False)

    def forward(
        self, hidden: Float[Tensor, "batch seq width"], mask: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch labels"]:
        return F.linear(self.how.embed(hidden, mask).to(self.weight.dtype), self.weight, self.bias)

    @torch.no_grad()
    def settle(self, weight: Float[Tensor, "labels width"], bias: Float[Tensor, " labels"]) -> None:
        """Take these for W and b."""
        self.weight.copy_(weight)
        self.bias.copy_(bias)


def give(model: nn.Module, head: SentenceHead) -> None:
    """Hang a head on a model."""
    setattr(model, NAME, head)


def of(model: nn.Module) -> SentenceHead | None:
    """The one that hangs on a model."""
    found = getattr(model, NAME, None)
    return found if isinstance(found, SentenceHead) else None
