"""A forward pass in two calls, for any Hugging Face model: hidden states first, the head afterwards.

No family table: the model itself says what it passes to its body, and what its head does with the answer. A
loss can so pick the positions it needs before the head is applied, and hidden states can come from a cache.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

from luthier.models import flat, sentence_head


class _Reached(Exception):
    """The body has answered; the head is not wanted yet."""

    def __init__(self, answer: ModelOutput) -> None:
        self.answer = answer


class _Listener:
    """Hooks that end a pass as soon as the body that was called first has answered."""

    def __init__(self) -> None:
        self.first: nn.Module | None = None

    def note(self, module: nn.Module, args: Any) -> None:
        self.first = module if self.first is None else self.first

    def stop(self, module: nn.Module, args: Any, answer: ModelOutput) -> None:
        if module is self.first:
            raise _Reached(answer)


def hidden(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> ModelOutput:
    """What the model without its head answers; `last_hidden_state` is (batch, seq, width), the decoder's if it has one.

    With `labels` among the inputs, a model that shifts them for its decoder does so by its own rule. Rows go through a
    body that takes them so flat, and come back padded.
    """
    laid = flat.lay(model, inputs)
    if laid is None:
        return _answer(model, inputs)
    with flat.attending(model, laid.rows), flat.pooling(model.base_model, laid.layout):
        return flat.unlaid(_answer(model, laid.inputs), laid.layout)


def _answer(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> ModelOutput:
    """Run a model until its body has answered."""
    bodies, listener = bodies_of(model), _Listener()
    handles = [body.register_forward_pre_hook(listener.note) for body in bodies]
    handles += [body.register_forward_hook(listener.stop) for body in bodies]
    try:
        model(**inputs)
    except _Reached as reached:
        return reached.answer
    finally:
        for handle in handles:
            handle.remove()
    raise AssertionError(f"{type(model).__name__} never called its body")


def head(model: PreTrainedModel, answer: ModelOutput, inputs: Mapping[str, Any]) -> Tensor:
    """The model's logits, given what its body answered for these inputs; of a head that was put in its own one's place,
    that one's."""
    own = sentence_head.of(model)
    if own is not None:
        found: Tensor = own(answer["last_hidden_state"], inputs["attention_mask"])
        return found
    with ExitStack() as stack:
        for body in bodies_of(model):
            stack.enter_context(_answering(body, answer))
        logits = model(**inputs).logits
    assert isinstance(logits, torch.Tensor)
    return logits


def logits_at(
    model: PreTrainedModel, answer: ModelOutput, positions: Bool[Tensor, "batch seq"]
) -> Float[Tensor, "picked vocab"]:
    """A language model's logits at some positions alone: the head never sees the others."""
    return logits_of(model, answer, answer["last_hidden_state"][positions])


def logits_of(
    model: PreTrainedModel, answer: ModelOutput, states: Float[Tensor, "picked width"]
) -> Float[Tensor, "picked vocab"]:
    """A language model's logits of some hidden states, as if its body had answered with them."""
    picked = copy.copy(answer)
    picked["last_hidden_state"] = states[None]
    # A decoder's inputs stand for themselves: its body is not run again, so their values do not matter.
    inputs: dict[str, Any] = {"input_ids": states.new_zeros(1, 1, dtype=torch.long)}
    if model.config.is_encoder_decoder:
        encoder = getattr(model.config, "encoder", model.config)  # two models put together have a config each
        nothing = BaseModelOutput(last_hidden_state=states.new_zeros(1, 1, encoder.hidden_size))
        inputs = {"encoder_outputs": nothing, "decoder_input_ids": inputs["input_ids"]}
    return head(model, picked, inputs).squeeze(0)  # whose backward pass copies nothing


@contextmanager
def _answering(body: nn.Module, answer: ModelOutput) -> Iterator[None]:
    """Within it the body gives this answer, whatever it is asked."""
    own = vars(body).get("forward")  # accelerate gives modules one
    body.forward = lambda *args, **kwargs: answer
    try:
        yield
    finally:
        del body.forward
        if own is not None:
            body.forward = own


def bodies_of(model: PreTrainedModel) -> list[nn.Module]:
    """What may compute the hidden states that the head takes, the first that a model calls does: its base model, or the
    decoder, where a model is its own base (T5) or passes over it (OPT); a model without a head is a body itself."""
    bodies = [] if model.base_model is model else [model.base_model]
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    if isinstance(decoder, PreTrainedModel) and decoder is not model:
        bodies.append(decoder.base_model)
    return list(dict.fromkeys(bodies)) or [model]
