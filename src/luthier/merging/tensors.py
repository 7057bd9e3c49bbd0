"""One tensor of every model in parts: rows are read as they are asked for, and made fp32."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.methods import Merge, Part
from luthier.merging.parents.checkpoint import Checkpoint, Spec, States

PART_ELEMENTS = 2**22
"""Of a part, for each model, where nothing asks for fewer: enough to keep a core busy."""


@dataclass(frozen=True)
class Source:
    """A tensor in a checkpoint."""

    checkpoint: Checkpoint
    name: str

    @property
    def spec(self) -> Spec:
        return self.checkpoint.specs[self.name]

    def rows(self, start: int, stop: int, dtype: torch.dtype) -> Float[Tensor, "rows width"]:
        """Rows as a matrix, one behind the other in memory; a vector or a number is one row."""
        read = self.checkpoint.read(self.name, start, stop)
        return read.to(dtype).reshape(1 if read.dim() < 2 else read.shape[0], -1).contiguous()


@dataclass(frozen=True)
class Streamed:
    """A tensor of every model, read from where it lies; see `methods.Tensors`."""

    name: str
    models: tuple[Source, ...]
    labels: tuple[str, ...]
    base: Source | None = None
    companions: tuple[Checkpoint, ...] = ()
    """Statistics of each model, by the names of its tensors."""
    like_weights: bool = False
    """Whether a statistic has a number for each weight, and goes with the parts."""
    part_elements: int = PART_ELEMENTS
    keeps: bool = True
    """Whether a part that is the whole tensor stays in memory; not while a whole model is surveyed."""
    _kept: list[Part] = field(default_factory=list, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.models[0].spec.shape

    @property
    def num_rows(self) -> int:
        return self.shape[0] if len(self.shape) > 1 else 1

    @property
    def width(self) -> int:
        return prod(self.shape[1:]) if len(self.shape) > 1 else prod(self.shape)

    @cached_property
    def rows_of_a_part(self) -> int:
        return max(1, min(self.num_rows, self.part_elements // max(1, self.width)))

    @property
    def is_one_part(self) -> bool:
        return self.rows_of_a_part >= self.num_rows

    @cached_property
    def dtype(self) -> torch.dtype:
        """Of the arithmetic."""
        sources = [*self.models, *([self.base] if self.base else [])]
        return torch.float64 if any(source.spec.dtype == torch.float64 for source in sources) else torch.float32

    def __iter__(self) -> Iterator[Part]:
        if self._kept:
            yield from self._kept
            return
        for row in range(0, self.num_rows, self.rows_of_a_part):
            part = self._part(row, min(self.num_rows, row + self.rows_of_a_part))
            if self.is_one_part and self.keeps:
                self._kept.append(part)
            yield part

    def statistic(self, model: int) -> Tensor | None:
        """What was gathered for this tensor of a model."""
        source = self._companion(model)
        return source.checkpoint.read(source.name) if source else None

    def _part(self, start: int, stop: int) -> Part:
        base = self.base.rows(start, stop, self.dtype) if self.base else None
        models = tuple(source.rows(start, stop, self.dtype) for source in self.models)
        return Part(models, base, start, self._statistics(start, stop))

    def _statistics(self, start: int, stop: int) -> tuple[Tensor, ...]:
        sources = [self._companion(model) for model in range(len(self.models))] if self.like_weights else []
        return tuple(source.rows(start, stop, self.dtype) for source in sources if source)

    def _companion(self, model: int) -> Source | None:
        if not self.companions or self.models[model].name not in self.companions[model].specs:
            return None
        return Source(self.companions[model], self.models[model].name)


def merged(tensors: Streamed, method: Merge, surveyed: object = None) -> Iterator[tuple[int, Tensor]]:
    """The merged tensor part after part: number of its first row, and its rows."""
    measured = method.measure(tensors, surveyed)
    for part in tensors:
        yield part.row, method.merge(part, measured)


def merge_states(
    models: Sequence[Mapping[str, Tensor]],
    method: Merge | Callable[[str], Merge],
    *,
    base: Mapping[str, Tensor] | None = None,
    labels: Sequence[str] = (),
    companions: Sequence[Mapping[str, Tensor]] = (),
    part_elements: int = PART_ELEMENTS,
) -> dict[str, Tensor]:
    """State dicts of the same names and shapes into one; a function gives the method of each tensor by its name.

    What holds whole numbers is copied. Raises MergeError where the models do not fit together, or not the method.
    """
    if not models:
        raise MergeError("merge: no models are given")
    named = tuple(labels) or tuple(str(number) for number in range(len(models)))
    held = [States(states, label) for states, label in zip(models, named, strict=True)]
    started = States(base, "base") if base is not None else None
    asked = (lambda name: method) if isinstance(method, Merge) else method
    everyone = [*held, *([started] if started else [])]
    for states in everyone:
        _require_alike(states, held[0])
    merging = [name for name in models[0] if models[0][name].is_floating_point()]
    for name in merging:
        asked(name).require(len(models), has_base=base is not None, where="merge")
    made = {name: _the_same(name, everyone) for name in models[0].keys() - set(merging)}
    gathered = tuple(States(each, label) for each, label in zip(companions, named, strict=False))

    def streamed(name: str, *, keeps: bool) -> Streamed:
        like_weights, sources = asked(name).statistics == "weights", tuple(Source(states, name) for states in held)
        base_source = Source(started, name) if started else None
        return Streamed(name, sources, named, base_source, gathered, like_weights, part_elements, keeps)

    surveyed = None
    if merging and asked(merging[0]).surveys:
        surveyed = asked(merging[0]).survey([streamed(name, keeps=False) for name in merging])
    for name in merging:
        tensors = streamed(name, keeps=True)
        rows = [part for _, part in merged(tensors, asked(name), surveyed)]
        whole = torch.cat(rows) if rows else models[0][name]
        made[name] = whole.reshape(tensors.shape).to(models[0][name].dtype)
    return {name: made[name] for name in models[0]}


def _require_alike(states: States, first: States) -> None:
    for name in states.specs.keys() ^ first.specs.keys():
        lacks = states if name in first.specs else first
        raise MergeError(f"merge: {lacks.label} has no {name}, another one has; models are of one architecture")
    for name, spec in first.specs.items():
        if states.specs[name].shape != spec.shape:
            shapes = f"{list(spec.shape)} in {first.label} and {list(states.specs[name].shape)} in {states.label}"
            raise MergeError(f"merge: {name} is {shapes}")


def _the_same(name: str, everyone: Sequence[States]) -> Tensor:
    first = everyone[0].tensors[name]
    if any(not torch.equal(first, other.tensors[name]) for other in everyone[1:]):
        raise MergeError(f"merge: {name}: holds whole numbers that differ between models, so there is no mean of them")
    return first
