"""One tensor of every model in parts: rows are read as they are asked for, and made fp32."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

from luthier.merging.checkpoint import Checkpoint, Spec
from luthier.merging.methods import Merge, Part

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
        """Rows as a matrix; a vector or a number is one row."""
        read = self.checkpoint.read(self.name, start, stop)
        return read.to(dtype).reshape(1 if read.dim() < 2 else read.shape[0], -1)


@dataclass(frozen=True)
class Streamed:
    """A tensor of every model, read from where it lies; see `methods.Tensors`."""

    name: str
    models: tuple[Source, ...]
    labels: tuple[str, ...]
    base: Source | None = None
    companions: tuple[Mapping[str, Tensor], ...] = ()
    """Statistics of each model, by the names of its tensors."""
    like_weights: bool = False
    """Whether a statistic has a number for each weight, and goes with the parts."""
    part_elements: int = PART_ELEMENTS
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
            if self.is_one_part:
                self._kept.append(part)
            yield part

    def statistic(self, model: int) -> Tensor | None:
        """What was gathered for this tensor of a model."""
        return self.companions[model].get(self.models[model].name) if self.companions else None

    def _part(self, start: int, stop: int) -> Part:
        base = self.base.rows(start, stop, self.dtype) if self.base else None
        models = tuple(source.rows(start, stop, self.dtype) for source in self.models)
        return Part(models, base, start, self._statistics(start, stop))

    def _statistics(self, start: int, stop: int) -> tuple[Tensor, ...]:
        if not (self.like_weights and self.companions):
            return ()
        found = [self.statistic(model) for model in range(len(self.models))]
        rows = [None if each is None else each.to(self.dtype).reshape(self.num_rows, -1)[start:stop] for each in found]
        return tuple(each for each in rows if each is not None)


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
    """State dicts of the same names and shapes into one; a function gives the method of each tensor by its name."""
    from luthier.merging.checkpoint import States

    named = tuple(labels) or tuple(str(number) for number in range(len(models)))
    held = [States(states, label) for states, label in zip(models, named, strict=True)]
    started = States(base, "base") if base is not None else None
    asked = method if callable(method) else lambda name: method
    streamed = [
        Streamed(
            name=name,
            models=tuple(Source(states, name) for states in held),
            labels=named,
            base=Source(started, name) if started else None,
            companions=tuple(companions),
            like_weights=asked(name).statistics == "weights",
            part_elements=part_elements,
        )
        for name in models[0]
    ]
    first = asked(streamed[0].name)
    surveyed = first.survey(streamed) if first.surveys else None
    made = dict[str, Tensor]()
    for tensors in streamed:
        rows = [part for _, part in merged(tensors, asked(tensors.name), surveyed)]
        made[tensors.name] = torch.cat(rows).reshape(tensors.shape).to(models[0][tensors.name].dtype)
    return made
