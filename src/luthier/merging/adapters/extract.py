"""A LoRA from the difference of two models: the largest singular values of W' - W, layer by layer.

The models' configuration, built without numbers, tells which tensors are linear layers; whatever else differs is kept
whole, or told. Eckart and Young 1936, https://doi.org/10.1007/BF02288367.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from luthier.errors import MergeError
from luthier.merging.adapters._truncate import Keep, of_matrix
from luthier.merging.adapters.lora_files import Adapter, Factors, require_free, write_lora
from luthier.merging.adapters.reports import Layer, Report
from luthier.merging.checkpoint import Checkpoint
from luthier.merging.names import aligned
from luthier.merging.roles import blank_model
from luthier.methods import _peft
from luthier.models.heads import head_to_learn

Whole = Literal["none", "head", "changed"] | Sequence[str]
"""What is kept as in the tuned model: nothing, the head of a task, all that differs and is no update, or modules."""


@torch.no_grad()
def extract(
    tuned: Checkpoint,
    base: Checkpoint,
    into: Path,
    *,
    keep: Keep | None = None,
    modules_to_save: Whole = "head",
    overwrite: bool = False,
) -> Report:
    """Write the adapter that makes one model of the other, as far as its ranks reach; with no `keep` rank 16.

    Raises MergeError where transformers does not know the model, or no linear layer differs.
    """
    require_free(into, overwrite=overwrite)
    pair = _Pair(tuned, base)
    whole = _whole_modules(pair, modules_to_save)
    inside = tuple(f"{module}." for module in whole)
    layers: dict[str, Factors] = {}
    told: list[Layer] = []
    for name in pair.linear:
        if not f"{name}.".startswith(inside) and f"{name}.weight" in pair.changed:
            delta = pair.difference(name)
            cut = of_matrix(delta.T if name in pair.flipped else delta, keep=keep or Keep(rank=16))
            layers[name] = Factors(cut.A, cut.B)
            told.append(Layer.of(name, cut))
    if not layers:
        raise MergeError(f"{tuned.label}: no linear layer differs from {base.label}, so there is nothing to extract")
    tensors = pair.held_by(whole)
    has_biases = modules_to_save == "changed" and any(f"{name}.bias" in pair.changed for name in layers)
    if has_biases:
        tensors |= {f"{n}.bias": pair.tensor(f"{n}.bias") for n in layers if f"{n}.bias" in pair.stored}
    settings = _settings(pair, whole, tensors) | {"bias": "lora_only" if has_biases else "none"}
    settings["base_model_name_or_path"] = base.label
    write_lora(Adapter(into.name, layers, tensors, settings), into, overwrite=overwrite)
    covered = {pair.stored[name] for name in (*tensors, *(f"{layer}.weight" for layer in layers))}
    left_out = tuple(sorted({pair.stored[name] for name in pair.changed} - covered))
    num_same = len(set(pair.stored.values())) - len({pair.stored[name] for name in pair.changed})
    return Report(into, f"{tuned.label} less {base.label}", tuple(told), len(tensors), num_same, left_out)


@dataclass(frozen=True)
class _Pair:
    """The tuned model and its base, under the names that a loaded model has."""

    tuned: Checkpoint
    base: Checkpoint

    @cached_property
    def model(self) -> PreTrainedModel:
        """Without numbers."""
        with TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(dict(self.tuned.config)), encoding="utf-8")
            return blank_model(Path(folder), where=self.tuned.label)

    @cached_property
    def aliases(self) -> Mapping[str, tuple[str, ...]]:
        """Of each tensor every name; tied ones have several."""
        names: dict[int, list[str]] = {}
        for name, tensor in self._tensors():
            names.setdefault(id(tensor), []).append(name)
        return {name: tuple(names[id(tensor)]) for name, tensor in self._tensors()}

    @cached_property
    def stored(self) -> Mapping[str, str]:
        """Of each tensor its name in the tuned model's files, which is that of any of its names."""
        called = aligned(self.tuned.specs, list(self.aliases))
        found = {
            name: next((called[a] for a in (name, *all_) if a in called), None) for name, all_ in self.aliases.items()
        }
        return {name: there for name, there in found.items() if there is not None}

    @cached_property
    def started(self) -> Mapping[str, str]:
        """Of each tensor its name in the base's files, where it has one of the same shape."""
        called = aligned(self.base.specs, list(self.aliases))
        found = {
            name: next((called[a] for a in (name, *all_) if a in called), None) for name, all_ in self.aliases.items()
        }
        return {
            name: there
            for name, there in found.items()
            if there is not None
            and name in self.stored
            and self.base.specs[there].shape == self.tuned.specs[self.stored[name]].shape
        }

    @cached_property
    def linear(self) -> list[str]:
        """The layers that may have an update: those with a weight of their own, in both models."""
        maps = [name for name, module in self.model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
        own = [name for name in maps if len(self.aliases.get(f"{name}.weight", ())) == 1]
        return [name for name in own if f"{name}.weight" in self.started]

    @cached_property
    def flipped(self) -> frozenset[str]:
        """Those that keep their weights transposed."""
        return frozenset(name for name in self.linear if isinstance(self.model.get_submodule(name), Conv1D))

    @cached_property
    def changed(self) -> frozenset[str]:
        """The tensors that are not as in the base."""
        return frozenset(name for name in self.stored if not self._is_same(name))

    def tensor(self, name: str) -> Tensor:
        """Of the tuned model."""
        return self.tuned.read(self.stored[name])

    def difference(self, layer: str) -> Tensor:
        """Of a layer's weight, in fp32."""
        name = f"{layer}.weight"
        return self.tensor(name).float() - self.base.read(self.started[name]).float()

    def held_by(self, modules: Sequence[str]) -> dict[str, Tensor]:
        """All tensors of some modules."""
        names = [f"{module}.{leaf}" for module in modules for leaf in self.model.get_submodule(module).state_dict()]
        return {name: self.tensor(name) for name in names if name in self.stored}

    def _tensors(self) -> list[tuple[str, Tensor]]:
        parameters = list(self.model.named_parameters(remove_duplicate=False))
        kept = self.model.state_dict().keys()
        return [*parameters, *((name, b) for name, b in self.model.named_buffers() if name in kept)]

    def _is_same(self, name: str) -> bool:
        there = self.started.get(name)
        return there is not None and bool(torch.equal(self.tensor(name).double(), self.base.read(there).double()))


def _whole_modules(pair: _Pair, asked: Whole) -> list[str]:
    """The outermost modules that are kept whole."""
    model, names = pair.model, set[str]()
    if asked == "head":
        names = _head(model)
    elif asked == "changed":
        owners = (_keepable(pair, each) for name in pair.changed for each in pair.aliases[name])
        names = {owner for owner in owners if owner is not None} | _head(model)
    elif asked != "none":
        for said in asked:
            found = {name for name, _ in model.named_modules() if f".{name}".endswith(f".{said}")}
            if not found:
                raise MergeError(f"modules_to_save: no module of {pair.tuned.label} is called {said}")
            names |= found
    model.requires_grad_(False)
    for name in names:
        model.get_submodule(name).requires_grad_(True)
    return _peft.learnt_whole(model)


def _head(model: PreTrainedModel) -> set[str]:
    return {name.rpartition(".")[0] for name in head_to_learn(model, where="extract")} - {""}


def _keepable(pair: _Pair, name: str) -> str | None:
    """The module that holds a tensor which is no part of an update, where none of its own parts has an update."""
    owner = name.rpartition(".")[0]
    has_update = any(f"{layer}.".startswith(f"{owner}.") for layer in pair.linear if f"{layer}.weight" in pair.changed)
    return None if not owner or has_update else owner


def _settings(pair: _Pair, whole: Sequence[str], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """PEFT's; it looks for the head of a task that is said, so none is said where the head is left out."""
    task = _peft.task_type(pair.model)
    heads = [
        name for name, _ in pair.model.named_modules() if name.split(".")[-1] in _peft.CLASSIFIERS.get(task or "", ())
    ]
    lacks_head = any(not any(f"{head}.".startswith(f"{module}.") for module in whole) for head in heads)
    return {
        "task_type": None if lacks_head else task,
        "modules_to_save": list(whole) or None,
        "fan_in_fan_out": bool(pair.flipped),
    }
