"""Forwards that modules have for a while: the frozen part's, where its states are known or are to be noted."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

Around = Callable[[Callable[..., Any]], Callable[..., Any]]
"""What makes a forward of a forward."""
HIDDEN = "hidden_states"
"""What blocks call the states that they are given."""


@contextmanager
def patched(forwards: Mapping[nn.Module, Around]) -> Iterator[None]:
    """Within it modules have other forwards, made of their own; afterwards they have the ones from before."""
    with ExitStack() as stack:
        for module, around in forwards.items():
            stack.enter_context(_patched(module, around))
        yield


@contextmanager
def _patched(module: nn.Module, around: Around) -> Iterator[None]:
    own = vars(module).get("forward")  # checkpointing gives modules one
    module.forward = wraps(module.forward)(around(module.forward))
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own


def hand_on(block: nn.Module, answer: Any) -> Around:
    """A block that does nothing: it answers with the hidden states it is given."""

    def around(original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden = args[0] if args else kwargs[HIDDEN]
            return handed_on(block, answer, hidden, args, kwargs)

        return forward

    return around


def handed_on(
    block: nn.Module, num_answers: int, hidden: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """A block's answer with such hidden states; beside them a T5's blocks hand on the bias that its first one makes."""
    if not num_answers:
        return hidden
    rest: list[Any] = [None] * (num_answers - 1)
    attention: Any = next((part for part in block.modules() if hasattr(part, "compute_bias")), None)
    if attention is not None and rest:
        given = inspect.signature(type(block).forward).bind(block, *args, **kwargs).arguments
        rest[0] = given.get("position_bias")
        if rest[0] is None and attention.has_relative_attention_bias:
            length = given[HIDDEN].shape[1]
            rest[0] = attention.compute_bias(length, length, device=hidden.device)
    return (hidden, *rest)


def nothing_heard(model: PreTrainedModel, extractor: nn.Module) -> Around:
    def around(original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(sound: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch width frames"]:
            count: Any = model._get_feat_extract_output_lengths
            nothing = next(extractor.parameters()).new_zeros(1)
            return nothing.expand(len(sound), model.config.conv_dim[-1], int(count(sound.shape[1])))

        return forward

    return around


def unchanged(states: Tensor) -> Tensor:
    return states
