"""What a merge will do, before it does anything: which tensors of which models become which, by which method.

Everything that can be wrong with a merge is found here, from headers and configurations alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from luthier.errors import MergeError
from luthier.merging.engine import Output
from luthier.merging.methods import Each, Merge, merge_of
from luthier.merging.parents.alike import Alike, alike
from luthier.merging.parents.checkpoint import Checkpoint, Spec
from luthier.merging.parents.opened import Opened, open_statistics
from luthier.merging.parents.roles import Selects, selection
from luthier.merging.recipes.recipe import MergeRecipe, Parent
from luthier.merging.recipes.settings import value_of
from luthier.merging.spots import Layout, Spot, gives_all
from luthier.merging.tensors import Source

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Plan:
    """A merge, ready to be made."""

    outputs: tuple[Output, ...]
    reference: Opened
    """Whose names, configuration and tokenizer the result has: the base, else the first model."""
    stacked: Mapping[str, Sequence[int]]
    """By what the names of a list of blocks begin with, where each block of the result comes from."""
    alike: Alike
    """What was done so that the models can be read side by side."""
    notes: tuple[str, ...]

    @property
    def bytes_read(self) -> int:
        """Once through every tensor; methods that measure large tensors go through them again."""
        return sum(output.num_read for output in self.outputs)

    @property
    def bytes_written(self) -> int:
        return sum(output.spec.bytes for output in self.outputs)


class Planner:
    """Makes a plan of a recipe and the models it names."""

    def __init__(self, recipe: MergeRecipe, models: Mapping[str, Opened]) -> None:
        self.recipe, self.models = recipe, models
        self.kind = merge_of(recipe.kind)
        self.reference = models[recipe.base or recipe.slices[0].parents[0].model]
        self.alike = alike(recipe, models, self.reference, whole=gives_all(recipe))
        self.checkpoints = self.alike.checkpoints
        self.layout = Layout(recipe, self.reference.name, self.checkpoints, self.alike.ties.dropped)
        reference = self.checkpoints[self.reference.name]
        self.selects: Selects = selection(self.reference.path, reference.specs, where=recipe.where)
        self.notes = list(recipe.notes)
        self.gathered = {name: open_statistics(name, reference) for name in recipe.statistics}

    def plan(self) -> Plan:
        """Every tensor of the result.

        Raises MergeError where models do not fit together, or a setting does not fit the method.
        """
        outputs = tuple(self._output(spot) for spot in self.layout.spots())
        self._note_left_out()
        return Plan(outputs, self.reference, self.layout.stacked, self.alike, tuple(dict.fromkeys(self.notes)))

    def _output(self, spot: Spot) -> Output:
        if spot.name in self.alike.kept:
            only = self._source(self.reference.name, spot.name)
            return Output(spot.name, only.spec, (only,), (only.checkpoint.label,))
        sources = tuple(
            self._source(parent.model, name) for parent, name in zip(spot.slice.parents, spot.inputs, strict=True)
        )
        base_name = spot.slice.base or self.recipe.base
        base = self._base(base_name, spot) if base_name else None
        spec = (base or sources[0]).spec
        for source in (*sources, *([base] if base else [])):
            _require_shape(source, spec, spot.name, (base or sources[0]).checkpoint.label)
        dtype = spec.narrow or spec.dtype
        if self.recipe.dtype and spec.dtype.is_floating_point:
            dtype = DTYPES[self.recipe.dtype]
        parents, models, base = self._roles(spot, sources, base)
        labels = tuple(source.checkpoint.label for source in models)
        if not spec.dtype.is_floating_point:
            _require_equal(models, spot.name)
            return Output(spot.name, Spec(spec.shape, spec.dtype), models, labels)
        method = self._method(spot, parents, [source.name for source in models])
        plain = method.model_dump(exclude_defaults=True, exclude={"style"})
        if self.recipe.kind == "passthrough" and not plain:
            return Output(spot.name, Spec(spec.shape, dtype), models, labels)
        return Output(spot.name, Spec(spec.shape, dtype), models, labels, base, method, self._companions(parents))

    def _companions(self, parents: Sequence[Parent]) -> tuple[Checkpoint, ...]:
        """The statistics of each model, where the method wants them."""
        if self.kind.statistics == "none":
            return ()
        vocabulary = self.alike.vocabulary
        if self.kind.statistics == "weights" and vocabulary is not None and vocabulary.changes_any:
            raise MergeError(
                f"{self.recipe.where}: {self.recipe.kind} weighs rows by statistics, which would be of other "
                "words here; merge models of one tokenizer"
            )
        for parent in parents:
            if parent.statistics is None:
                asked = "merge statistics RUN --inputs" if self.kind.statistics == "inputs" else "merge statistics RUN"
                raise MergeError(
                    f"{self.recipe.where}: {self.recipe.kind} needs statistics of {parent.model}; gather them with "
                    f"luthier {asked} -o FOLDER, and name the folder with --statistics, for each model in turn"
                )
        return tuple(self.gathered[str(parent.statistics)] for parent in parents)

    def _roles(
        self, spot: Spot, sources: tuple[Source, ...], base: Source | None
    ) -> tuple[tuple[Parent, ...], tuple[Source, ...], Source | None]:
        """Who is merged, and from what base, by what the method wants: a base that is listed among the models counts
        as one of them only where no base has a meaning."""
        base_name = spot.slice.base or self.recipe.base
        pairs = list(zip(spot.slice.parents, sources, strict=True))
        if self.kind.needs_base == "no":
            base = None
        else:
            pairs = [(parent, source) for parent, source in pairs if parent.model != base_name]
        self.kind.require(len(pairs), has_base=base is not None, where=self.recipe.where)
        return tuple(p for p, _ in pairs), tuple(s for _, s in pairs), base

    def _base(self, name: str, spot: Spot) -> Source:
        """In slices that move blocks, the base's block is the one that the first parent's is."""
        listed = [inner for parent, inner in zip(spot.slice.parents, spot.inputs, strict=True) if parent.model == name]
        return self._source(name, (listed or [spot.inputs[0]])[0])

    def _source(self, model: str, name: str) -> Source:
        checkpoint = self.checkpoints[model]
        if name not in checkpoint.specs:
            raise MergeError(f"{model}: has no {name}; models that are merged are of one architecture")
        return Source(checkpoint, name)

    def _method(self, spot: Spot, parents: tuple[Parent, ...], inputs: Sequence[str]) -> Merge:
        """The method with its settings for this tensor; those of a model go by what the tensor is called there."""
        settings: dict[str, Any] = {"style": self.recipe.style} if self.recipe.style != "paper" else {}
        for name, field in self.kind.model_fields.items():
            shared = (spot.slice.settings, self.recipe.settings)
            if field.annotation == Each:
                found = [
                    self._first(name, own, spot.at, (parent.settings, *shared))
                    for parent, own in zip(parents, inputs, strict=True)
                ]
                if any(each is not None for each in found):
                    lost = [parent.model for parent, each in zip(parents, found, strict=True) if each is None]
                    if lost:
                        raise MergeError(f"{self.recipe.where}: {lost[0]} has no {name} for {spot.name}, others have")
                    settings[name] = tuple(found)
            elif name != "style":
                one = self._first(name, spot.name, spot.at, shared)
                settings |= {} if one is None else {name: one}
        made = self.kind.model_validate(settings)
        assert isinstance(made, Merge)
        return made

    def _first(self, setting: str, tensor: str, at: float, levels: Sequence[Mapping[str, Any]]) -> Any:
        for level in levels:
            if setting in level:
                value = value_of(level[setting], tensor=tensor, at=at, selects=self.selects)
                if value is not None:
                    return value
        return None

    def _note_left_out(self) -> None:
        if kept := sorted(self.alike.kept):
            few = ", ".join(kept[:3]) + (" ..." if len(kept) > 3 else "")
            self.notes.append(
                f"{self.reference.name}: {len(kept)} tensors that no other model has stay as they are: {few}"
            )
        for name, left in self.alike.left_out.items():
            if lost := [each for each in left if each not in self.alike.ties.dropped]:
                few = ", ".join(lost[:3]) + (" ..." if len(lost) > 3 else "")
                told = f"{len(lost)} tensors that {self.reference.name} has not are left out: {few}"
                self.notes.append(f"{name}: {told}")


def _require_shape(source: Source, spec: Spec, name: str, reference: str) -> None:
    if source.spec.shape != spec.shape:
        raise MergeError(
            f"{name}: is {_told(source.spec)} in {source.checkpoint.label} and {_told(spec)} in {reference}; "
            "other words are merged with tokenizer: union or base, other heads by giving the common base"
        )


def _require_equal(models: Sequence[Source], name: str) -> None:
    first = models[0].checkpoint.read(models[0].name)
    for other in models[1:]:
        if not torch.equal(first, other.checkpoint.read(other.name)):
            raise MergeError(f"{name}: holds whole numbers that differ between models, so there is no mean of them")


def _told(spec: Spec) -> str:
    return " x ".join(map(str, spec.shape)) or "a number"
