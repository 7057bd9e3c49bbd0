"""What a merge will do, before it does anything: which tensors of which models become which, by which method.

Everything that can be wrong with a merge is found here, from headers and configurations alone.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from luthier.component import find
from luthier.errors import MergeError
from luthier.merging.engine import Output
from luthier.merging.methods import Each, Merge
from luthier.merging.parents.alike import Alike, alike
from luthier.merging.parents.blocks import Blocks
from luthier.merging.parents.checkpoint import Checkpoint, Spec
from luthier.merging.parents.opened import Opened, open_statistics
from luthier.merging.parents.roles import Selects, selection
from luthier.merging.recipes.recipe import MergeRecipe, Parent, Slice
from luthier.merging.recipes.settings import value_of
from luthier.merging.tensors import Source

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_BEFORE = re.compile(r"emb(?!ed_out)|wte|wpe")
"""In the names of what lies before the blocks; GPT-NeoX calls its head embed_out."""


@dataclass(frozen=True)
class Plan:
    """A merge, ready to be made."""

    outputs: tuple[Output, ...]
    reference: Opened
    """Whose names, configuration and tokenizer the result has: the base, else the first model."""
    num_blocks: Mapping[str, int]
    """Blocks of the result, by what their names begin with; where slices stack them, others than the reference has."""
    blocks_from: tuple[int, ...] | None
    """Where blocks are stacked: the number that each had where it comes from."""
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


@dataclass(frozen=True)
class _Spot:
    """A tensor of the result: the slice it comes from, and what it is called in each of its parents."""

    name: str
    slice: Slice
    inputs: tuple[str, ...]
    at: float
    """How far through its slice's blocks it lies, from 0 to 1; 0 outside of blocks."""


class Planner:
    """Makes a plan of a recipe and the models it names."""

    def __init__(self, recipe: MergeRecipe, models: Mapping[str, Opened]) -> None:
        self.recipe, self.models = recipe, models
        kind = find("merges", recipe.kind)
        assert issubclass(kind, Merge)
        self.kind: type[Merge] = kind
        self.reference = models[recipe.base or recipe.slices[0].parents[0].model]
        self.alike = alike(recipe, models, self.reference, whole=self._is_whole)
        self.checkpoints = self.alike.checkpoints
        reference = self.checkpoints[self.reference.name]
        self.names = [name for name in reference.specs if name not in self.alike.ties.dropped]
        self.blocks = Blocks.of(self.names, reference.config)
        self.selects: Selects = selection(self.reference.path, reference.specs, where=recipe.where)
        self.notes = list(recipe.notes)
        named = {parent.statistics for each in recipe.slices for parent in each.parents} - {None}
        self.gathered = {str(name): open_statistics(str(name), reference) for name in sorted(map(str, named))}

    @property
    def _is_whole(self) -> bool:
        """Whether every model gives all of its blocks."""
        return all(parent.layers is None for each in self.recipe.slices for parent in each.parents)

    def plan(self) -> Plan:
        """Every tensor of the result.

        Raises MergeError where models do not fit together, or a setting does not fit the method.
        """
        spots = list(self._spots())
        outputs = tuple(self._output(spot) for spot in spots)
        self._note_left_out()
        num_blocks = dict(self.blocks.stacks)
        blocks_from = None
        if not self._is_whole:
            prefix, stacked = self._stacked()
            num_blocks[prefix] = len(stacked)
            blocks_from = tuple(stacked)
        return Plan(outputs, self.reference, num_blocks, blocks_from, self.alike, tuple(dict.fromkeys(self.notes)))

    def _spots(self) -> Iterator[_Spot]:
        for prefix, slices in self._modules().items():
            names = [name for name in self.names if name.startswith(prefix)]
            if self._is_whole and len(slices) == 1:
                yield from (self._whole(name, slices[0]) for name in names)
            else:
                yield from self._sliced(names, slices)

    def _modules(self) -> dict[str, tuple[Slice, ...]]:
        """Slices by what the names of their tensors begin with; a recipe of one module means the whole model."""
        modules = self.recipe.modules
        if len(modules) == 1:
            return {"": next(iter(modules.values()))}
        names = self.names
        found = dict[str, tuple[Slice, ...]]()
        for module, slices in modules.items():
            near = sorted({name[: name.index(f"{module}.")] for name in names if f".{module}." in f".{name}"}, key=len)
            if not near:
                raise MergeError(f"{self.recipe.where}: modules: no tensor of {self.reference.name} lies in {module}")
            found[f"{near[0]}{module}."] = slices
        left = [name for name in names if not name.startswith(tuple(found))]
        rest = next(iter(modules.values()))
        return {**found, **{name: rest for name in left}}

    def _whole(self, name: str, of: Slice) -> _Spot:
        place = self.blocks.place(name)
        at = 0.0
        if place is not None:
            last = self.blocks.stacks[place[0]] - 1
            at = place[1] / last if last else 1.0
        return _Spot(name, of, (name,) * len(of.parents), at)

    def _sliced(self, names: list[str], slices: Sequence[Slice]) -> Iterator[_Spot]:
        """Tensors before the blocks come from the first slice's models, those after them from the last one's."""
        prefix = self._stack()
        outside = [name for name in names if self.blocks.place(name) is None]
        before = {name for name in outside if _BEFORE.search(name)}  # a file's own order is that of the alphabet
        for name in outside:
            of = slices[0] if name in before else slices[-1]
            yield _Spot(name, of, (name,) * len(of.parents), 0.0)
        number = 0
        for of in slices:
            ranges = [parent.layers or (0, self.blocks.stacks[prefix]) for parent in of.parents]
            num = ranges[0][1] - ranges[0][0]
            for index in range(num):
                at = index / (num - 1) if num > 1 else 1.0
                for name in self._of_block(of.parents[0].model, prefix, ranges[0][0] + index):
                    inputs = tuple(self.blocks.renamed(name, begin + index) for begin, _ in ranges)
                    yield _Spot(self.blocks.renamed(name, number), of, inputs, at)
                number += 1

    def _stack(self) -> str:
        if len(self.blocks.stacks) != 1:
            known = ", ".join(self.blocks.stacks) or "none"
            raise MergeError(f"{self.recipe.where}: slices need a model with one list of blocks; this one has {known}")
        return next(iter(self.blocks.stacks))

    def _stacked(self) -> tuple[str, list[int]]:
        prefix, numbers = self._stack(), list[int]()
        for of in self.recipe.slices:
            begin, end = of.parents[0].layers or (0, self.blocks.stacks[prefix])
            numbers += range(begin, end)
        return prefix, numbers

    def _of_block(self, model: str, prefix: str, number: int) -> list[str]:
        found = [
            name
            for name in self.checkpoints[model].specs
            if self.blocks.place(name) == (prefix, number) and name not in self.alike.ties.dropped
        ]
        if not found:
            raise MergeError(f"{self.recipe.where}: {model} has no block {number}; its blocks are counted from 0")
        return found

    def _output(self, spot: _Spot) -> Output:
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
        for parent in parents:
            if parent.statistics is None:
                asked = "merge statistics RUN --inputs" if self.kind.statistics == "inputs" else "merge statistics RUN"
                raise MergeError(
                    f"{self.recipe.where}: {self.recipe.kind} needs statistics of {parent.model}; gather them with "
                    f"luthier {asked} -o FOLDER, and name the folder with --statistics, for each model in turn"
                )
        return tuple(self.gathered[str(parent.statistics)] for parent in parents)

    def _roles(
        self, spot: _Spot, sources: tuple[Source, ...], base: Source | None
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

    def _base(self, name: str, spot: _Spot) -> Source:
        """In slices that move blocks, the base's block is the one that the first parent's is."""
        listed = [inner for parent, inner in zip(spot.slice.parents, spot.inputs, strict=True) if parent.model == name]
        return self._source(name, (listed or [spot.inputs[0]])[0])

    def _source(self, model: str, name: str) -> Source:
        checkpoint = self.checkpoints[model]
        if name not in checkpoint.specs:
            raise MergeError(f"{model}: has no {name}; models that are merged are of one architecture")
        return Source(checkpoint, name)

    def _method(self, spot: _Spot, parents: tuple[Parent, ...], inputs: Sequence[str]) -> Merge:
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
