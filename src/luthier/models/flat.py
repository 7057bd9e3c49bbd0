"""Rows laid flat for a model's body: (1, tokens) in place of (batch, seq), so that no layer computes padding.

Positions begin again with every row, and attention is our own (models/attention.py), which keeps rows apart. No table
says which families take it: the model itself is tried, in value and in gradient. Rows that are packed by their
positions go the same way.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface
from transformers.utils import ModelOutput

from luthier.models import attention, prefixed
from luthier.models.attention import How, Rows
from luthier.models.layout import Layout

FIRST_POSITION = "luthier_first_position"
"""The attribute of a model that takes flat rows: the position of a row's first token."""
NEVER = "luthier_never_flat"
"""The attribute of a model of which something that was put in knows padded rows alone."""
TAKEN = {"input_ids", "attention_mask", "position_ids", "token_type_ids"}
"""Inputs, each (batch, seq), that can be laid flat."""

_rows: ContextVar[Rows | None] = ContextVar("rows", default=None)


@dataclass(frozen=True)
class Flat:
    """A batch whose rows lie flat."""

    inputs: Mapping[str, Int[Tensor, "1 tokens"]]
    layout: Layout
    rows: Rows


def is_laid(model: PreTrainedModel) -> bool:
    """Whether a model's rows are laid flat."""
    return getattr(model, FIRST_POSITION, None) is not None


@contextmanager
def padded(model: PreTrainedModel) -> Iterator[None]:
    """Within it a model's rows are padded, as those of a model that was loaded to answer: to the last bit the same."""
    first = getattr(model, FIRST_POSITION, None)
    setattr(model, FIRST_POSITION, None)
    try:
        yield
    finally:
        setattr(model, FIRST_POSITION, first)


def may_take(model: PreTrainedModel) -> bool:
    """Whether a model says that its attention is called through transformers' table, and reads text alone.

    That is all there is to know of one whose weights are not there.
    """
    alone = not model.config.is_encoder_decoder and model.main_input_name == "input_ids"
    return alone and bool(model._supports_attention_backend) and not hasattr(model, NEVER)


def lay(model: PreTrainedModel, inputs: Mapping[str, Any]) -> Flat | None:
    """The same rows flat; None where the model does not take them, or they have inputs that cannot be laid so."""
    first = getattr(model, FIRST_POSITION, None)
    given = {name: value for name, value in inputs.items() if value is not None}
    if first is None or not given.keys() <= TAKEN or ("attention_mask" in given) == ("position_ids" in given):
        return None
    packed = given.pop("position_ids", None)
    ids = given["input_ids"]
    mask = given.pop("attention_mask", torch.ones_like(ids)).bool()
    layout = Layout(mask, is_flat=True)
    laid = {name: layout.flat(value) for name, value in given.items()}
    if packed is None:
        lengths = layout.lengths
    else:
        starts = (packed.flatten() == 0).nonzero()[:, 0].tolist()
        lengths = [end - start for start, end in zip(starts, [*starts[1:], packed.numel()], strict=True)]
    positions = torch.cat([torch.arange(length) for length in lengths]) + first
    return Flat({**laid, "position_ids": positions.to(ids.device)[None]}, layout, Rows(lengths))


@contextmanager
def attending(model: nn.Module, rows: Rows | None) -> Iterator[None]:
    """Within it the model's attention is our own, over these rows; nothing changes where there are none."""
    if rows is None:
        yield
        return
    configs = {id(m.config): m.config for m in model.modules() if isinstance(m, PreTrainedModel)}.values()
    before = [config._attn_implementation for config in configs]
    token = _rows.set(rows)
    try:
        for config in configs:
            config._attn_implementation = attention.NAME
        yield
    finally:
        for config, own in zip(configs, before, strict=True):
            config._attn_implementation = own
        _rows.reset(token)


def current() -> Rows | None:
    """The rows that attention is over now: whoever computes a block anew, later, needs them again."""
    return _rows.get()


def unlaid(answer: ModelOutput, layout: Layout) -> ModelOutput:
    """A body's answer for flat rows, its hidden states padded as the batch was."""
    answer["last_hidden_state"] = layout.padded(answer["last_hidden_state"][0])
    return answer


@contextmanager
def pooling(body: nn.Module, layout: Layout) -> Iterator[None]:
    """Within it a body's pooler, which looks at each row's first token, finds it where it expects it."""
    pooler = getattr(body, "pooler", None)
    if not isinstance(pooler, nn.Module):
        yield
        return
    handle = pooler.register_forward_pre_hook(lambda module, args: (layout.padded(args[0][0]), *args[1:]))
    try:
        yield
    finally:
        handle.remove()


def _attention(
    module: nn.Module,
    query: Float[Tensor, "1 heads tokens width"],
    key: Float[Tensor, "1 kv_heads tokens width"],
    value: Float[Tensor, "1 kv_heads tokens width"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Float[Tensor, "1 tokens heads width"], None]:
    """What transformers calls in each layer."""
    rows = _rows.get()
    if rows is None or query.shape[2] != key.shape[2] or query.shape[2] != sum(rows.lengths):
        raise NotImplementedError("flat rows are for attention of rows over themselves")
    if any(others.get(name) is not None for name in ("softcap", "position_bias", "s_aux")):
        raise NotImplementedError("attention with a bias, a cap or a sink is not computed flat")
    if prefixed.of(module) is not None:
        raise NotImplementedError("attention with a prefix is not computed flat")
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    how = How(scale, dropout if module.training else 0.0, bool(causal), sliding_window)
    return attention.attend(query[0], key[0], value[0], rows, how).transpose(0, 1)[None], None


AttentionInterface.register(attention.NAME, _attention)
AttentionMaskInterface.register(attention.NAME, lambda *args, **kwargs: None)
