"""Learnt embeddings among a row's own, before the first block: the body is given longer rows, and answers with as many
positions as it was asked for.

The body's `forward` is wrapped, so whoever hooks the body, or takes its place, sees rows as they are. A decoder's cache
keeps what the prompt made: it is put in with the first tokens, and counted from then on.
"""

import copy
import inspect
from collections.abc import Mapping
from typing import Any, Protocol, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from luthier.errors import MethodError
from luthier.models import flat
from luthier.models.positions import num_positions

IDS, STATES, MASK = "input_ids", "inputs_embeds", "attention_mask"
POSITIONS, TYPES = "position_ids", "token_type_ids"


class HasVectors(Protocol):
    """What hangs on the embedding of a model's words."""

    on: bool
    length: int
    place: int
    """How many of a row's own tokens stand before it."""

    def states(self) -> Float[Tensor, "length width"]:
        """The learnt embeddings."""


def prompt(model: PreTrainedModel, body: PreTrainedModel, part: HasVectors) -> None:
    """Have a body read a prompt in every row from now on; without it, while it is off, it computes what it computed."""
    wrapped = _Prompted(model, body, part)
    vars(body)["forward"] = wrapped
    setattr(model, flat.NEVER, True)
    if model.config.is_encoder_decoder:
        cast(nn.Module, model.get_decoder()).register_forward_pre_hook(_Crossing(part), with_kwargs=True)
    else:  # masks for a static cache would be made before the prompt is in
        vars(model)["create_masks_for_generate"] = _as_given


class _Prompted:
    """A body's forward with a prompt in it."""

    def __init__(self, model: PreTrainedModel, body: PreTrainedModel, part: HasVectors) -> None:
        self.body, self.part, self._forward = body, part, body.forward
        self.__signature__ = inspect.signature(body.forward)
        self.most = num_positions(body)
        self.keeps_all = bool(model.config.is_encoder_decoder)
        """Whether the prompt's states stay in the answer: a decoder looks at an encoder's."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.part.on:
            return self._forward(*args, **kwargs)
        given = dict(self.__signature__.bind_partial(*args, **kwargs).arguments)
        given = {**{name: value for name, value in given.items() if name != "kwargs"}, **given.get("kwargs", {})}
        cache = given.get("past_key_values")
        seen = 0 if cache is None else int(cache.get_seq_length())
        if seen:
            return self._forward(**self._counted(given))
        self._require_room(given)
        _widen(cache, self.part.length, self.body)
        answer = self._forward(**self._inserted(given))
        return answer if self.keeps_all else self._cut(answer)

    def _counted(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs of later tokens, where the prompt is in the cache."""
        changed = dict(given)
        if given.get(MASK) is not None:
            changed[MASK] = self._with(given[MASK], 1)
        if given.get(POSITIONS) is not None:
            changed[POSITIONS] = given[POSITIONS] + self.part.length
        return changed

    def _inserted(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs with the prompt among them."""
        changed, ids, states = dict(given), given.get(IDS), given.get(STATES)
        if states is None:
            states = self.body.get_input_embeddings()(ids)
        learnt = self.part.states().to(states.dtype).expand(len(states), -1, -1)
        place, length = self.part.place, self.part.length
        changed[IDS], changed[STATES] = None, torch.cat([states[:, :place], learnt, states[:, place:]], 1)
        if given.get(MASK) is not None:
            changed[MASK] = self._with(given[MASK], 1)
        if given.get(TYPES) is not None:
            changed[TYPES] = self._with(given[TYPES], 0)
        positions = given.get(POSITIONS)
        if positions is not None:
            _require_one_row(positions, given.get(MASK))
            first = positions[:, :place] + 1 if place else torch.zeros_like(positions[:, :1])
            own = first + torch.arange(length, device=positions.device)
            changed[POSITIONS] = torch.cat([positions[:, :place], own, positions[:, place:] + length], 1)
        return changed

    def _with(self, flags: Tensor, value: int) -> Tensor:
        """Something that is said of every token, with what is to be said of the prompt's."""
        if flags.ndim != 2:
            raise NotImplementedError("a prompt is put into rows whose mask has two axes")
        place = self.part.place
        own = flags.new_full((len(flags), self.part.length), value)
        return torch.cat([flags[:, :place], own, flags[:, place:]], 1)

    def _require_room(self, given: Mapping[str, Any]) -> None:
        if flat.current() is not None:
            raise NotImplementedError("a prompt is not put into rows that lie flat")
        states = given.get(STATES) if given.get(IDS) is None else given[IDS]
        num_tokens, length = cast(Tensor, states).shape[1], self.part.length
        if self.most is not None and num_tokens + length > self.most:
            raise MethodError(
                f"method.length: a prompt of {length} and a row of {num_tokens} tokens are more than this model's "
                f"{self.most} positions; shorten the prompt, or the rows (task.max_length)"
            )

    def _cut(self, answer: Any) -> Any:
        """The answer without the prompt's positions."""
        if isinstance(answer, Tensor):
            return self._without(answer, 1)
        if not isinstance(answer, ModelOutput):
            return (self._cut(answer[0]), *answer[1:])
        cut = copy.copy(answer)
        cut["last_hidden_state"] = self._without(answer["last_hidden_state"], 1)
        if answer.get("hidden_states") is not None:
            cut["hidden_states"] = tuple(self._without(states, 1) for states in answer["hidden_states"])
        if answer.get("attentions") is not None:
            cut["attentions"] = tuple(self._without(self._without(each, 2), 3) for each in answer["attentions"])
        return cut

    def _without(self, states: Tensor, axis: int) -> Tensor:
        place, end = self.part.place, self.part.place + self.part.length
        if not place:
            return states.narrow(axis, end, states.shape[axis] - end)
        return torch.cat([states.narrow(axis, 0, place), states.narrow(axis, end, states.shape[axis] - end)], axis)


class _Crossing:
    """Before a decoder is called: it sees the prompt among its encoder's states too."""

    def __init__(self, part: HasVectors) -> None:
        self.part = part

    def __call__(self, decoder: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        states, mask = kwargs.get("encoder_hidden_states"), kwargs.get("encoder_attention_mask")
        if not self.part.on or states is None or mask is None or mask.shape[1] + self.part.length != states.shape[1]:
            return None
        place = self.part.place
        own = mask.new_ones(len(mask), self.part.length)
        return args, {**kwargs, "encoder_attention_mask": torch.cat([mask[:, :place], own, mask[:, place:]], 1)}


def _require_one_row(positions: Tensor, mask: Tensor | None) -> None:
    """Raise MethodError where rows are packed by their positions."""
    if mask is None and bool((positions.diff(dim=-1) < 0).any()):
        raise MethodError(
            "method: a prompt stands in every row, and not in several packed into one; say task.packing=false"
        )


def _widen(cache: Any, length: int, body: PreTrainedModel) -> None:
    """Give a static cache, of which nothing is used yet, room for the prompt."""
    for layer in getattr(cache, "layers", ()):
        if hasattr(layer, "max_cache_len") and not layer.is_initialized:
            layer.max_cache_len += length
            if layer.is_sliding:
                layer.max_cache_len = min(layer.max_cache_len, body.config.sliding_window)


def _as_given(*args: Any, attention_mask: Tensor | None, **others: Any) -> Tensor | None:
    return attention_mask
