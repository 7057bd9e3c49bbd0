"""A forward pass in two calls, for any Hugging Face model: hidden states first, the head afterwards.

No family table: the model itself says what it passes to its base, and what its head does with the answer. A
loss can so pick the rows it needs before the head is applied, and hidden states can come from a cache.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput


class _Reached(Exception):
    """The base has answered; the head is not wanted yet."""

    def __init__(self, answer: ModelOutput) -> None:
        self.answer = answer


def hidden(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> ModelOutput:
    """What the model without its head answers; `last_hidden_state` is (batch, seq, width)."""

    def stop(module: nn.Module, args: Any, answer: ModelOutput) -> None:
        raise _Reached(answer)

    base = _base(model)
    handle = base.register_forward_hook(stop)
    try:
        model(**inputs)
    except _Reached as reached:
        return reached.answer
    finally:
        handle.remove()
    raise AssertionError(f"{type(model).__name__} never called its base model")


def head(model: PreTrainedModel, answer: ModelOutput, inputs: Mapping[str, Tensor]) -> Tensor:
    """The model's logits, given what its base answered for these inputs."""
    base = _base(model)
    own = vars(base).get("forward")  # accelerate gives modules one
    base.forward = lambda *args, **kwargs: answer
    try:
        logits = model(**inputs).logits
    finally:
        del base.forward
        if own is not None:
            base.forward = own
    assert isinstance(logits, torch.Tensor)
    return logits


def _base(model: PreTrainedModel) -> nn.Module:
    base = model.base_model
    assert isinstance(base, nn.Module) and base is not model, f"{type(model).__name__} has no base model"
    return base
