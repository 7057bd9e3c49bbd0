"""Rows of a table of words that learn while all others stay: the words' own tensors, put in the place of the table's.

A head that is tied to the table follows it; one that is not has rows of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from luthier.errors import MethodError
from luthier.methods._parts import Part, hang
from luthier.models.words import learnt_words, tied_with, word_tables


class NewRows(Part):
    """The rows of some words; it hangs on every layer whose weight has them."""

    held_as: ClassVar[str] = "new_rows"

    def __init__(self, weight: Float[Tensor, "words width"], numbers: Sequence[int]) -> None:
        super().__init__()
        self.numbers: Tensor
        self.register_buffer("numbers", torch.tensor(numbers, device=weight.device), persistent=False)
        self.rows = nn.Parameter(torch.stack([weight[number] for number in numbers]).float())

    def changed(self, layer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], answer: Any) -> Any:
        given = args[0] if args else kwargs["input"]
        looks_up = isinstance(layer, nn.Embedding)
        return self._looked_up(layer, given, answer) if looks_up else self._told(layer, given, answer)

    def _looked_up(self, layer: nn.Module, ids: Int[Tensor, "*rows"], answer: Tensor) -> Tensor:
        is_own = ids[..., None] == self.numbers
        rows = F.embedding(is_own.int().argmax(-1), self.rows) * getattr(layer, "embed_scale", 1.0)
        return torch.where(is_own.any(-1, keepdim=True), rows.to(answer.dtype), answer)

    def _told(self, layer: nn.Module, states: Tensor, answer: Tensor) -> Tensor:
        bias = getattr(layer, "bias", None)
        own = F.linear(states.to(self.rows.dtype), self.rows)
        if bias is not None:
            own = own + bias[self.numbers]
        return answer.index_copy(-1, self.numbers, own.to(answer.dtype))


def hang_new_rows(model: PreTrainedModel, *, where: str) -> None:
    """Let the rows of the words that were added to the model learn; the rest of the base is settled already.

    Raises MethodError where their table learns in another way too.
    """
    words = learnt_words(model)
    if not words:
        raise MethodError(f"{where}: new tokens are the tokenizer's too: luthier.attach(model, folder, processor=...)")
    table, head = next(iter(word_tables(model).values())), model.get_output_embeddings()
    for weight in dict.fromkeys(layer.get_parameter("weight") for layer in (table, head) if layer is not None):
        layers = tied_with(model, weight)
        if (weight is table.weight and weight.requires_grad) or any(map(_is_served, layers.values())):
            raise MethodError(f"{where}: {' and '.join(layers)} learn in another way already; say one of the two")
        if not weight.requires_grad:  # a head that is new learns whole
            part = NewRows(weight, list(words.values()))
            for layer in layers.values():
                hang(layer, part)


def _is_served(layer: nn.Module) -> bool:
    return any(isinstance(child, Part) for child in layer.children())


@torch.no_grad()
def fold_rows(layer: nn.Module, part: NewRows) -> None:
    """Write the rows into the layer's weight."""
    weight = layer.get_parameter("weight")
    weight.data = weight.data.index_copy(0, part.numbers, part.rows.to(weight.dtype))
