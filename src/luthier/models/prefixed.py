"""Attention with learnt keys and values before a row's own: softmax(Q [P; K]' / sqrt(width)) [P_v; V].

It goes through transformers' table of attention functions, so no family is known here: where a unit has a prefix, the
function that the model has anyhow is called with longer keys and values. What is learnt lies in no cache of keys, so
positions, the length of a cache and its beams stay the model's own.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask, sdpa_mask

from luthier.errors import ModelError

HELD_AS = "prefix"
"""The attribute of an attention unit that holds its prefix."""
NAMES = {"eager": "luthier-prefix-eager", "sdpa": "luthier-prefix-sdpa"}
"""Transformers' name of what a model has anyhow, and that of the same with prefixes."""

Attention = tuple[Float[Tensor, "batch seq heads width"], Tensor | None]
States = tuple[Float[Tensor, "batch kv_heads seq width"], Float[Tensor, "batch kv_heads seq width"]]
"""Keys and values."""

_noted: ContextVar[dict[nn.Module, States] | None] = ContextVar("noted", default=None)


class HasStates(Protocol):
    """What hangs on an attention unit."""

    on: bool
    length: int

    def states(self) -> tuple[Float[Tensor, "kv_heads length width"], Float[Tensor, "kv_heads length width"]]:
        """Its keys and values."""


def of(unit: nn.Module) -> HasStates | None:
    """A unit's prefix; None where it has none, or one that is off."""
    part = cast(HasStates | None, unit._modules.get(HELD_AS))
    return part if part is not None and part.on else None


def attend(model: PreTrainedModel) -> None:
    """Have the model's attention look for prefixes from now on; without any it computes what it computed.

    Raises ModelError where it is set to a kernel that takes none.
    """
    configs = {id(m.config): m.config for m in model.modules() if isinstance(m, PreTrainedModel)}.values()
    odd = {config._attn_implementation for config in configs} - {*NAMES, *NAMES.values()}
    if odd:
        raise ModelError(f"model.attention: {min(map(str, odd))} takes no prefix; say sdpa or eager")
    for config in configs:
        config._attn_implementation_internal = NAMES.get(config._attn_implementation, config._attn_implementation)


@contextmanager
def noting() -> Iterator[Mapping[nn.Module, States]]:
    """The keys and values of every unit that is called within it, as it was called first."""
    noted: dict[nn.Module, States] = {}
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def _attention(
    base: Callable[[nn.Module], Callable[..., Attention]],
    module: nn.Module,
    query: Float[Tensor, "batch heads seq width"],
    key: Float[Tensor, "batch kv_heads keys width"],
    value: Float[Tensor, "batch kv_heads keys value_width"],
    attention_mask: Tensor | None,
    **how: Any,
) -> Attention:
    """What transformers calls in each layer."""
    noted, prefix = _noted.get(), of(module)
    if noted is not None:
        noted.setdefault(module, (key, value))
    if prefix is None:
        return base(module)(module, query, key, value, attention_mask, **how)
    attention_mask, how = _all_may_see(module, query, key, attention_mask, prefix.length, how)
    key, value = (_before(own, learnt) for own, learnt in zip((key, value), prefix.states(), strict=True))
    return base(module)(module, query, key, value, attention_mask, **how)


def _before(own: Tensor, learnt: Float[Tensor, "kv_heads length width"]) -> Tensor:
    return torch.cat([learnt.to(own.dtype).expand(len(own), -1, -1, -1), own], 2)


def _all_may_see(
    module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, length: int, how: dict[str, Any]
) -> tuple[Tensor | None, dict[str, Any]]:
    """The mask, and a T5's bias, with the prefix in them, which every token sees."""
    num_queries, num_keys = query.shape[2], key.shape[2]
    causal = how.pop("is_causal", None)
    causal = getattr(module, "is_causal", True) if causal is None else causal
    if mask is None and causal and num_queries > 1:
        # Left to the kernel, which would count from the prefix. A row begins where its keys do: those beyond its end
        # are places of a cache that nothing was written to.
        mask = torch.ones(num_queries, num_keys, dtype=torch.bool, device=key.device).tril()[None, None]
    if mask is not None:
        mask = F.pad(mask, (length, 0), value=True if mask.dtype == torch.bool else 0.0)
    bias = how.get("position_bias")
    if bias is not None:  # positions that count the prefix come with its bias
        how = {**how, "position_bias": F.pad(bias, (num_keys + length - bias.shape[-1], 0))}
    return mask, {**how, "is_causal": False}


def _eager(module: nn.Module) -> Callable[..., Attention]:
    """The family's own: it knows caps, sinks and biases that no kernel has."""
    own: Callable[..., Attention] | None = getattr(
        sys.modules[type(module).__module__], "eager_attention_forward", None
    )
    if own is None:
        raise ModelError(f"model.attention: {type(module).__name__} has no eager attention of its own; say sdpa")
    return own


def _sdpa(module: nn.Module) -> Callable[..., Attention]:
    return sdpa_attention_forward


for _name, _base, _mask in (("eager", _eager, eager_mask), ("sdpa", _sdpa, sdpa_mask)):
    AttentionInterface.register(NAMES[_name], partial(_attention, _base))
    AttentionMaskInterface.register(NAMES[_name], _mask)
