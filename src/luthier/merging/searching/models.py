"""The models that a search merges, held in memory: what all of them have, whatever heads they are under."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.parents.checkpoint import Checkpoint
from luthier.merging.parents.names import aligned
from luthier.merging.parents.opened import open_models
from luthier.merging.searching.space import Point, Space
from luthier.merging.tensors import merge_states


@dataclass(frozen=True)
class Models:
    """What is merged, in memory, under the names of the first model, or of the base."""

    states: Mapping[str, Mapping[str, Tensor]]
    """By label."""
    base: Mapping[str, Tensor] | None
    config: Mapping[str, Any]
    paths: Mapping[str, str]
    """Where each lies, by its label; for the recipe."""
    base_path: str | None = None

    @classmethod
    def open(cls, models: Sequence[str], *, base: str | None = None) -> "Models":
        """Of folders, packages, hub ids and finished runs, under the labels that a merge of them gives.

        Raises MergeError where one is not there, or they have nothing in common.
        """
        opened = open_models([*([base] if base else []), *models])  # in a recipe's order, on which labels depend
        checkpoints = {opened[name].checkpoint.label: opened[name].checkpoint for name in models}
        paths = {opened[name].checkpoint.label: name for name in models}
        return cls.read(checkpoints, base=opened[base].checkpoint if base else None, paths=paths, base_path=base)

    @classmethod
    def read(
        cls,
        models: Mapping[str, Checkpoint],
        *,
        base: Checkpoint | None = None,
        paths: Mapping[str, str] | None = None,
        base_path: str | None = None,
    ) -> "Models":
        """Read the tensors that all have in one shape.

        Raises MergeError where there are none.
        """
        reference = base or next(iter(models.values()))
        called = {label: aligned(model.specs, reference.specs) for label, model in models.items()}
        shared = [
            name
            for name, spec in reference.specs.items()
            if spec.dtype.is_floating_point
            and all(name in own and models[of].specs[own[name]].shape == spec.shape for of, own in called.items())
        ]
        if not shared:
            raise MergeError(f"search: {', '.join(models)} share no tensor; they are of other kinds")
        states = {of: {name: models[of].read(own[name]) for name in shared} for of, own in called.items()}
        started = {name: base.read(name) for name in shared} if base else None
        return cls(states, started, reference.config, paths or {label: label for label in models}, base_path)

    def merged(self, space: Space, point: Point) -> dict[str, Tensor]:
        """The body that a point's settings make."""
        with torch.no_grad():
            return merge_states(
                list(self.states.values()), space.method(point), base=self.base, labels=list(self.states)
            )
