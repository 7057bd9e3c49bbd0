"""The learnt embeddings of a prompt, as they hang on the embedding of a model's words."""

from typing import Any, ClassVar, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from transformers import PreTrainedModel

from luthier.errors import MethodError
from luthier.methods._parts import Part
from luthier.models.anatomy import read
from luthier.models.forward import bodies_of
from luthier.models.resting import resting

Place = Literal["auto", "before", "after-first"]
TRIED = (5, 6, 7)
"""Tokens that a model is tried with."""
ROUNDING = 1e-2
"""Largest relative difference that is rounding, in bf16 too."""


class Prompt(Part):
    """Embeddings that no word has; `models/prompted.py` puts them into every row."""

    held_as: ClassVar[str] = "prompt"
    hears: ClassVar[bool] = False

    def __init__(self, vectors: Float[Tensor, "length width"], place: int) -> None:
        super().__init__()
        self.length, self.place = len(vectors), place
        self.vectors = nn.Parameter(vectors.detach().float().clone())

    def states(self) -> Float[Tensor, "length width"]:
        return self.vectors


def body_of(model: PreTrainedModel) -> PreTrainedModel:
    """The module that looks up the embeddings of a text that is read: an encoder, or a decoder without one.

    Raises MethodError where the model hears, or its body needs more of a text than embeddings.
    """
    if model.main_input_name != "input_ids":
        raise MethodError(f"method: a prompt stands before text, but {model.config.model_type} hears sound; say prefix")
    found: Any = model.get_encoder() if model.config.is_encoder_decoder else bodies_of(model)[-1]
    body = cast(PreTrainedModel, found)
    try:
        same = _reads_embeddings(body, model)
    except (TypeError, ValueError):
        same = False
    if not same:
        raise MethodError(
            f"method: a prompt is made of embeddings, but {model.config.model_type} reads more of a text than these; "
            "say prefix or lora"
        )
    return body


@torch.no_grad()
def _reads_embeddings(body: PreTrainedModel, model: PreTrainedModel) -> bool:
    """Whether a body makes of embeddings what it makes of their words."""
    ids = torch.tensor([TRIED], device=model.device)
    with resting(body.modules()):
        by_words = body(input_ids=ids)[0]
        by_embeddings = body(inputs_embeds=body.get_input_embeddings()(ids))[0]
    if isinstance(by_words, FakeTensor):
        return True
    return float((by_embeddings - by_words).norm()) <= ROUNDING * float(by_words.norm())


def place_in(model: PreTrainedModel, place: Place) -> int:
    """How many of a row's own tokens stand before its prompt; auto: in an encoder the first, which poolers read."""
    if place == "auto":
        return 1 if all(stack.kind == "encoder" for stack in read(model).stacks) else 0
    return 1 if place == "after-first" else 0
