"""What PEFT writes of the methods that learn vectors before a text: one tensor, `prompt_embeddings`, and heads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.errors import MethodError
from luthier.methods import _peft, read_json

PREFIX, NAME = "base_model.", "prompt_embeddings"
OURS = "luthier"
"""The key of adapter_config.json that holds what PEFT has no word for, and passes over."""


def save(
    model: PreTrainedModel,
    folder: Path,
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    learnt_apart: set[str],
) -> None:
    """The tensors, and every trainable parameter that is not named in `learnt_apart`: the head."""
    head = _head(model, learnt_apart)
    whole = _peft.learnt_whole(model)
    settings = {"modules_to_save": sorted(whole) or None, **settings}
    _peft.write(model, folder, settings, {**tensors, **{PREFIX + name: p for name, p in head.items()}})


def load(model: PreTrainedModel, folder: Path, places: Mapping[str, Tensor], learnt_apart: set[str]) -> None:
    """Into tensors of the same names, and the head.

    Raises MethodError where the file holds other names or shapes.
    """
    head = {PREFIX + name: parameter for name, parameter in _head(model, learnt_apart).items()}
    _peft.read_into({**places, **head}, folder)


def peft_type(folder: Path) -> str | None:
    """The method of a folder; None where there is no such folder."""
    path = folder / _peft.CONFIG
    return read_json(path).get("peft_type") if path.is_file() else None


def shape_of(folder: Path) -> tuple[int, ...]:
    """The shape of the learnt vectors.

    Raises MethodError where the folder holds none.
    """
    path = folder / _peft.WEIGHTS
    tensors = load_file(path) if path.is_file() else {}
    if NAME not in tensors:
        raise MethodError(f"{path}: holds no {NAME}")
    return tuple(tensors[NAME].shape)


def _head(model: PreTrainedModel, learnt_apart: set[str]) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad and name not in learnt_apart}
