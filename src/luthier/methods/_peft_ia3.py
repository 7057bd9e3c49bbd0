"""(IA)^3's names in PEFT's folder, and its settings there; layers are named in full."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from luthier.methods import _peft
from luthier.methods._scales import Scale, ScaledInput

UNREAD = ("exclude_modules",)
"""Settings of PEFT that change the result and that Luthier does not read."""


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write every trainable parameter."""
    layers = {name: module for name, module in model.named_modules() if hasattr(module, Scale.held_as)}
    config = {
        "peft_type": "IA3",
        "target_modules": list(layers),
        "feedforward_modules": [name for name, layer in layers.items() if isinstance(layer.ia3, ScaledInput)],
        "fan_in_fan_out": any(isinstance(layer, Conv1D) for layer in layers.values()),
        "modules_to_save": _peft.learnt_whole(model) or None,
    }
    _peft.write(model, folder, config, _tensors(model))


def load(model: PreTrainedModel, folder: Path) -> None:
    """Read the weights into a model whose layers have their scales.

    Raises MethodError where the file holds other parameters than the model expects.
    """
    _peft.read_config(folder, "IA3", UNREAD)
    _peft.read_into(_tensors(model), folder)


def read_settings(folder: Path) -> dict[str, Any]:
    """(IA)^3's settings, under our names, of a folder that PEFT wrote.

    Raises MethodError where it is of another method, or uses a setting that Luthier does not read.
    """
    config = _peft.read_config(folder, "IA3", UNREAD)
    targets, inner = config["target_modules"], config.get("feedforward_modules") or []
    return {
        "targets": _peft.targets(targets),
        "feed_forward": _peft.targets(inner) if isinstance(targets, list) else _among(targets, inner),
        "also_train": _peft.also_trained(config),
    }


def _among(targets: str, inner: str | list[str]) -> tuple[str, ...]:
    """Selectors of the inner layers that the regular expression of all layers names too: PEFT means no others."""
    if targets == "all-linear":
        return _peft.targets(inner)
    patterns = [inner] if isinstance(inner, str) else [rf"(?:.*\.)?{re.escape(name)}" for name in inner]
    return tuple(rf"re:^(?=(?:{targets})\.[^.]+$)(?:{pattern})\.[^.]+$" for pattern in patterns)


def _tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """Whatever learns, under PEFT's names: a scale as the row or column by which the weight is multiplied."""
    found: dict[str, Tensor] = {}
    for owner, module in model.named_modules():
        if isinstance(module, Scale):
            shape = (1, -1) if isinstance(module, ScaledInput) else (-1, 1)
            layer = owner.removesuffix(f".{Scale.held_as}")
            found[f"{_peft.PREFIX}{layer}.ia3_l"] = module.l.detach().view(shape)
        else:
            own = module._parameters.items()
            found |= {f"{_peft.PREFIX}{owner}.{leaf}": p for leaf, p in own if p is not None and p.requires_grad}
    return found
