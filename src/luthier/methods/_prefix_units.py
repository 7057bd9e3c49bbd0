"""The attention units of a model that can have a prefix: found by the anatomy, and tried, for nothing else tells
whether a family calls transformers' table of attention functions in all of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from luthier.errors import MethodError, ModelError
from luthier.models import forward, prefixed
from luthier.models.anatomy import Block, attention_units, join, read
from luthier.models.forward import bodies_of
from luthier.models.positions import is_rotary
from luthier.models.resting import resting

Which = Literal["all", "decoder"]
"""Of an encoder-decoder: every unit, or those in which the decoder looks at itself."""
TRIED = (5, 5)
"""Tokens that a model is tried with: any that every vocabulary has."""


def units_of(model: PreTrainedModel, which: Which) -> dict[str, nn.Module]:
    """The units that get a prefix, by their full names, in the model's order."""
    stacks = read(model).stacks
    if which == "decoder":
        stacks = tuple(stack for stack in stacks if stack.kind == "decoder")
        if not stacks:
            raise MethodError("method.units: decoder, but this model is an encoder; say all")
    owners = [
        join(block.name, owner)
        for stack in stacks
        for block in stack.blocks
        for owner in attention_units(block.module)
        if which == "all" or join(block.name, owner) not in _crossing(block)
    ]
    return {name: model.get_submodule(name) for name in owners}


def open_units(model: PreTrainedModel, units: Mapping[str, nn.Module]) -> Mapping[nn.Module, prefixed.States]:
    """Have attention look for prefixes; -> keys and values of each unit, for a few tokens.

    Raises MethodError where a unit does not come to it.
    """
    try:
        prefixed.attend(model)
        noted = heard(model, TRIED)
    except ModelError as error:
        raise MethodError(f"method: prefix cannot be used here: {error}") from error
    silent = [name for name, unit in units.items() if unit not in noted]
    if silent:
        raise MethodError(
            f"method: prefix needs attention that goes through transformers' attention interface, but "
            f"{model.config.model_type} computes {silent[0]} and {len(silent) - 1} more by itself; "
            "say prompt, or lora with targets=attention"
        )
    return noted


@torch.no_grad()
def heard(
    model: PreTrainedModel, tokens: Sequence[int], *, before_a_row: bool = False
) -> Mapping[nn.Module, prefixed.States]:
    """Keys and values of every unit that a forward pass of these tokens calls.

    With `before_a_row`, they are those of a text whose last token stands right before position 0; where positions are
    looked up in a table, nothing stands there, and the text is read from position 0.
    """
    inputs = _inputs(model, tokens)
    if before_a_row and is_rotary(model) and not model.config.is_encoder_decoder:
        inputs["position_ids"] = torch.arange(-len(tokens), 0, device=model.device)[None]
    with resting(model.modules()), prefixed.noting() as noted:
        forward.hidden(model, inputs)
    return noted


def _inputs(model: PreTrainedModel, tokens: Sequence[int]) -> dict[str, Any]:
    """A row of these tokens; a model that hears is given silence."""
    ids, config = torch.tensor([list(tokens)], device=model.device), cast(Any, model.config)
    decoder = {"decoder_input_ids": ids} if config.is_encoder_decoder else {}
    if model.main_input_name == "input_ids":
        return {"input_ids": ids, **decoder}
    if model.main_input_name == "input_features":
        shape: tuple[int, ...] = (1, config.num_mel_bins, 2 * config.max_source_positions)
    else:
        shape = (1, 4000)  # a quarter of a second
    silence = torch.zeros(shape, device=model.device, dtype=model.dtype)
    return {model.main_input_name: silence, **decoder}


def innermost(model: PreTrainedModel) -> PreTrainedModel:
    """The module that looks up a text's embeddings and its positions."""
    return cast(PreTrainedModel, bodies_of(model)[-1])


def _crossing(block: Block) -> set[str]:
    """The units that look at another stack's answers."""
    layers = [name for role, names in block.roles.items() if role.startswith("cross-attention.") for name in names]
    return {name.rpartition(".")[0] for name in layers}
