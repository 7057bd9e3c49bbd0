"""Several adapters of one base, side by side: which layers they have, and what they hold as a whole."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.adapters.lora_files import Adapter, read_lora

BIASES = ("none", "lora_only", "all")
"""PEFT's words for the biases that learn; each takes in those before it."""


def read_all(folders: Sequence[Path]) -> list[Adapter]:
    """The adapters of some folders, under names that differ: the ends of their paths.

    Raises MergeError where one cannot be read, or where they are not of one base.
    """
    adapters = [read_lora(folder, label) for folder, label in zip(folders, _labels(folders), strict=True)]
    require_one_base(adapters)
    return adapters


def require_one_base(adapters: Sequence[Adapter]) -> None:
    """Raise MergeError where fingerprints of the base or shapes of a layer differ."""
    prints = {adapter.label: adapter.base["sha256"] for adapter in adapters if adapter.base.get("sha256")}
    labels = list(prints)
    if odd := [label for label in labels if prints[label] != prints[labels[0]]]:
        raise MergeError(
            f"{labels[0]} and {odd[0]}: were trained on different bases, so what they learnt does not add up"
        )
    for name in layers_of(adapters):
        having = [adapter for adapter in adapters if name in adapter.layers]
        first = having[0].layers[name]
        for adapter in having[1:]:
            other = adapter.layers[name]
            if (other.shape, other.is_embedding) != (first.shape, first.is_embedding):
                raise MergeError(
                    f"{having[0].label} and {adapter.label}: {name} has updates of shapes {first.shape} and "
                    f"{other.shape}, so they are of different bases"
                )


def layers_of(adapters: Sequence[Adapter]) -> list[str]:
    """Every layer that some adapter has."""
    return list(dict.fromkeys(name for adapter in adapters for name in adapter.layers))


def whole_of(adapters: Sequence[Adapter]) -> dict[str, Tensor]:
    """What they hold as a whole; raises MergeError where two hold different values of one tensor."""
    found: dict[str, tuple[Adapter, Tensor]] = {}
    for adapter in adapters:
        for name, tensor in adapter.whole.items():
            first, known = found.setdefault(name, (adapter, tensor))
            if known.shape != tensor.shape or not torch.equal(known, tensor):
                raise MergeError(
                    f"{first.label} and {adapter.label}: both hold {name} as a whole, with different values, which no "
                    "sum of updates can join; train them with one head or bias, or fold them and merge the models"
                )
    return {name: tensor for name, (_, tensor) in found.items()}


def settings_of(adapters: Sequence[Adapter]) -> dict[str, Any]:
    """PEFT's settings of an adapter that takes the place of all."""
    said: dict[str, Any] = {}
    for adapter in reversed(adapters):
        said |= {name: value for name, value in adapter.settings.items() if value}
    if saved := {module for adapter in adapters for module in adapter.settings.get("modules_to_save") or ()}:
        said["modules_to_save"] = sorted(saved)
    said["bias"] = max((adapter.settings.get("bias", "none") for adapter in adapters), key=BIASES.index)
    return said


def base_of(adapters: Sequence[Adapter]) -> Mapping[str, Any]:
    """The first fingerprint that is known, or name."""
    known = [adapter.base for adapter in adapters if adapter.base]
    return next((base for base in known if base.get("sha256")), known[0] if known else {})


def notes_of(adapters: Sequence[Adapter]) -> tuple[str, ...]:
    """What could not be checked."""
    bases = {str(adapter.settings.get("base_model_name_or_path") or adapter.base.get("name")) for adapter in adapters}
    if len(bases) > 1 and not all(adapter.base.get("sha256") for adapter in adapters):
        return (f"the adapters name different bases: {', '.join(sorted(bases))}; make sure that these are one model",)
    return ()


def _labels(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ, so that chance depends neither on order nor on where they lie."""
    paths = [folder.resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        twice = next(folder for folder, path in zip(folders, paths, strict=True) if paths.count(path) > 1)
        raise MergeError(f"{twice}: is given twice; give it once, with the sum of its weights")
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        labels = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    raise AssertionError("paths that differ have ends that differ")
