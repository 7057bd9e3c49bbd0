"""A tuned model and its base, under the names that the tuned one has once it is loaded: it is built without numbers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from luthier.errors import MergeError
from luthier.merging.parents.checkpoint import Checkpoint
from luthier.merging.parents.names import aligned
from luthier.merging.parents.roles import blank_model


@dataclass(frozen=True)
class Pair:
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
        return self._called(self.tuned)

    @cached_property
    def started(self) -> Mapping[str, str]:
        """Of each tensor its name in the base's files, where it has one of the same shape."""
        ours, theirs = self.tuned.specs, self.base.specs
        both = {name: there for name, there in self._called(self.base).items() if name in self.stored}
        return {name: there for name, there in both.items() if theirs[there].shape == ours[self.stored[name]].shape}

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
        return frozenset(
            name for name, there in self.stored.items() if not self._is_same(there, self.started.get(name))
        )

    @cached_property
    def unplaced(self) -> frozenset[str]:
        """Names in the tuned model's files of changed tensors that a loaded model has in another form."""
        names = sorted(self.tuned.specs.keys() - set(self.stored.values()))
        called = aligned(self.base.specs, names)
        return frozenset(name for name in names if not self._is_same(name, called.get(name)))

    def tensor(self, name: str) -> Tensor:
        """Of the tuned model."""
        return self.tuned.read(self.stored[name])

    def difference(self, layer: str) -> Tensor:
        """Of a layer's weight, in fp32."""
        name = f"{layer}.weight"
        found = self.tensor(name).float() - self.base.read(self.started[name]).float()
        if not found.isfinite().all():
            raise MergeError(f"{self.tuned.label}: {name} less that of {self.base.label} is not finite everywhere")
        return found

    def held_by(self, modules: Sequence[str]) -> dict[str, Tensor]:
        """All tensors of some modules."""
        names = [f"{module}.{leaf}" for module in modules for leaf in self.model.get_submodule(module).state_dict()]
        return {name: self.tensor(name) for name in names if name in self.stored}

    def _tensors(self) -> list[tuple[str, Tensor]]:
        parameters = list(self.model.named_parameters(remove_duplicate=False))
        kept = self.model.state_dict().keys()
        return [*parameters, *((name, b) for name, b in self.model.named_buffers() if name in kept)]

    def _called(self, checkpoint: Checkpoint) -> dict[str, str]:
        called = aligned(checkpoint.specs, list(self.aliases))
        found = {
            name: next((called[a] for a in (name, *tied) if a in called), None) for name, tied in self.aliases.items()
        }
        return {name: there for name, there in found.items() if there is not None}

    def _is_same(self, tuned: str, base: str | None) -> bool:
        """Whether a tensor of the one's files equals one of the other's."""
        if base is None or self.tuned.specs[tuned].shape != self.base.specs[base].shape:
            return False
        return bool((self.tuned.read(tuned) == self.base.read(base)).all())
