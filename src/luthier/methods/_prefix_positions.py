"""Positions that count a prefix, as PEFT counts them: a row's first token stands behind it.

PEFT puts the prefix into the cache of keys, so that the model itself begins to count there.
"""

import inspect
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.errors import MethodError
from luthier.methods._prefix_units import innermost
from luthier.models import prefixed
from luthier.models.positions import first_position, num_positions


def shift(model: PreTrainedModel, units: Mapping[str, nn.Module]) -> None:
    """Have a model count positions from behind its prefixes, whenever they are on.

    Raises MethodError where its positions cannot be said.
    """
    biased = [unit for unit in units.values() if hasattr(unit, "compute_bias")]
    body = innermost(model)
    if biased:  # T5's first unit makes the bias of its whole stack
        for unit in biased:
            vars(unit)["compute_bias"] = _Bias(unit)
    elif "position_ids" in inspect.signature(body.forward).parameters and not model.config.is_encoder_decoder:
        body.register_forward_pre_hook(_Positions(next(iter(units.values())), body), with_kwargs=True)
    else:
        raise MethodError(
            f"method.positions: {model.config.model_type} takes no positions that could be shifted; say own"
        )


class _Bias:
    """A T5's bias with that of the keys before a row."""

    def __init__(self, unit: nn.Module) -> None:
        self.unit = unit

    def __call__(self, queries: int, keys: int, device: Any = None, past_seen_tokens: Any = 0) -> Tensor:
        prefix, compute = prefixed.of(self.unit), cast(Any, type(self.unit)).compute_bias
        length = prefix.length if prefix is not None else 0
        bias: Tensor = compute(
            self.unit, queries, keys + length, device=device, past_seen_tokens=past_seen_tokens + length
        )
        return bias


class _Positions:
    """Before a body is called: its own positions, said and shifted."""

    def __init__(self, unit: nn.Module, body: PreTrainedModel) -> None:
        self.unit = unit
        self.first, self.most = first_position(body), num_positions(body)

    def __call__(self, body: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        prefix = prefixed.of(self.unit)
        if prefix is None:
            return None
        given = inspect.signature(body.forward).bind_partial(*args, **kwargs).arguments
        given = {**given.pop("kwargs", {}), **given}
        ids, cache = given.get("input_ids"), given.get("past_key_values")
        states = given.get("inputs_embeds") if ids is None else ids
        if states is None:
            return None
        num_tokens, positions = states.shape[1], given.get("position_ids")
        seen = 0 if cache is None else int(cache.get_seq_length())
        if self.most is not None and prefix.length + seen + num_tokens > self.most:
            raise MethodError(
                f"method.length: {prefix.length} positions of a prefix and {seen + num_tokens} tokens of a row are "
                f"more than this model's {self.most}; shorten the rows (task.max_length), or say method.positions=own"
            )
        if positions is None:
            positions = torch.arange(seen, seen + num_tokens, device=states.device)[None] + self.first
        return (), {**given, "position_ids": positions + prefix.length}
