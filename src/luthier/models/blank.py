"""A model of which only the configuration is there: built as `load_model` builds it, from fake tensors.

A fake tensor knows its shape, type and device, and holds no numbers, so a model of any size takes no memory. What is
built here is for planning: it runs, and answers nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from unittest import mock

import torch
from safetensors import safe_open
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from luthier.data.places import public_name
from luthier.models import load, trust
from luthier.models.architecture import auto_class, require_fit
from luthier.models.heads import remember_new
from luthier.models.place import place_of, told
from luthier.models.quantise import quantise
from luthier.models.quiet import quiet
from luthier.models.source import ModelSource


@contextmanager
def faking() -> Iterator[FakeTensorMode]:
    """Within it new tensors are fake, and a module's weights can be cast though they are.

    torch casts a module's fake weights by swapping objects, which it refuses where anything refers to them. And a fake
    tensor lies nowhere, yet code tells one from another by its place.
    """
    with (
        FakeTensorMode(allow_non_fake_inputs=True) as mode,
        mock.patch.object(nn.Module, "_apply", _apply),
        mock.patch.object(FakeTensor, "data_ptr", _place, create=True),
    ):
        yield mode


def read_configuration(source: ModelSource, ask: load.Ask) -> PreTrainedConfig:
    """What the model would be loaded with; a folder with a `config.json` alone serves.

    Raises ModelError where there is none, or the task does not suit it.
    """
    with told(source.name), quiet(), trust.no_pickles(source.name):
        settings = load.read_configuration(place_of(source), source.name, ask.config)
        require_fit(settings, ask.auto_model, ask.suits, ask.task, public_name(source.name))
    return settings


def is_bf16(source: ModelSource, settings: PreTrainedConfig) -> bool:
    """Whether the model's file holds its matrices in bf16; where it is not here, whether the configuration says so."""
    files = list(Path(place_of(source)).glob("*.safetensors"))
    if not files:
        return str(getattr(settings, "dtype", None)).endswith("bfloat16")
    return all(kind == "BF16" for file in files for kind in _kinds_of_matrices(file))


def _kinds_of_matrices(file: Path) -> Iterator[str]:
    """By the names that safetensors has for types."""
    with safe_open(file, framework="pt") as opened:
        for name in opened.keys():  # noqa: SIM118 - it is no mapping
            part = opened.get_slice(name)
            if len(part.get_shape()) > 1:
                yield part.get_dtype()


def blank_model(
    settings: PreTrainedConfig, ask: load.Ask, source: ModelSource, *, device: str, pad_token_id: int | None
) -> PreTrainedModel:
    """The model that `load_model` would load, fake; only within `faking`.

    No tensor of it is taken to be new: which are, the weights' file alone would tell.
    """
    settings._attn_implementation = load.attention(source.attention, device)
    dtype = torch.bfloat16 if source.dtype == "bfloat16" else torch.float32
    chosen: Any = auto_class(ask.auto_model, settings)
    with told(source.name), quiet(), no_init_weights():
        model = chosen.from_config(settings, dtype=dtype, trust_remote_code=False)
        model.tie_weights()
    remember_new(model, ())
    if source.quantize != "none":
        quantise(model, source.quantize, device="cpu")
    model.config.pad_token_id = pad_token_id
    model.config.use_cache = False
    return cast(PreTrainedModel, model)


def _apply(module: nn.Module, function: Any, recurse: bool = True) -> nn.Module:
    """`nn.Module._apply` for what holds no numbers: the tensors change in their places."""
    if recurse:
        for child in module.children():
            _apply(child, function)
    for parameter in module._parameters.values():
        if parameter is not None:
            parameter.data = function(parameter.data)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = function(buffer)
    return module


def _place(tensor: torch.Tensor) -> int:
    """What tells one fake tensor from another, where real ones have an address."""
    return id(tensor)
