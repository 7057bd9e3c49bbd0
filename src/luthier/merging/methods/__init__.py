"""How the tensors of one name, of several models, become one. One file a method; this is the contract.

A method sees a tensor in parts of whole rows, so that no tensor need be in memory at once. What it must know of the
whole tensor it gathers in `measure`, and what it must know of the whole model in `survey`; then `merge` maps part after
part. Its settings are those of one tensor: a recipe that varies them over layers makes a method for each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from luthier.component import Component, find
from luthier.errors import MergeError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

Each = tuple[float, ...]
"""A number for each model, the base apart; a single one is that of every model."""


@dataclass(frozen=True)
class Part:
    """Some whole rows of one tensor, of every model, in fp32 (float64 where a file has that).

    A row is what lies under one index of the first axis; a vector, and a single number, is one row.
    """

    models: tuple[Float[Tensor, "rows width"], ...]
    base: Float[Tensor, "rows width"] | None = None
    row: int = 0
    """Number of the first row."""
    statistics: tuple[Float[Tensor, "rows width"], ...] = ()
    """Of the same rows, each model's statistics, where the method's `statistics` are as large as weights."""

    @cached_property
    def deltas(self) -> tuple[Float[Tensor, "rows width"], ...]:
        """What each model learnt: its weights less those of the base."""
        assert self.base is not None, "only of methods that need a base"
        return tuple(model - self.base for model in self.models)

    @property
    def start(self) -> int:
        """Number of the first element in the whole tensor."""
        return self.row * self.models[0].shape[1]


class Tensors(Protocol):
    """One tensor of every model; read anew as often as it is gone through, in the same parts, from the first row on."""

    @property
    def name(self) -> str:
        """In the merged model."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored; parts have `num_rows` by `width`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """A name of each model, the base apart, that does not depend on their order."""

    @property
    def num_rows(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def is_one_part(self) -> bool:
        """Whether all rows come at once; that part is read once and kept."""

    def __iter__(self) -> Iterator[Part]: ...
    def statistic(self, model: int) -> Float[Tensor, "*shape"] | None:
        """What was gathered for this tensor of a model, whole and whatever its shape; None where nothing was."""


class Merge(Component, ABC):
    """A way to make one tensor of several."""

    needs_base: ClassVar[Literal["yes", "may", "no"]] = "no"
    """Whether there must be a base whose weights the models started from, or may be, or none has a meaning."""
    num_models: ClassVar[tuple[int, int | None]] = (1, None)
    """Fewest and most models, the base apart."""
    surveys: ClassVar[bool] = False
    """Whether `survey` wants to see the model before its first tensor is merged."""
    statistics: ClassVar[Literal["none", "weights", "inputs"]] = "none"
    """What must have been gathered from data for each model: a number for each weight, or a matrix over the inputs of
    each linear layer."""
    styles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Where paper and tools differ: the settings that each of them stands for."""

    style: Literal["paper", "mergekit", "peft"] = "paper"
    """Whose variant it is, where they differ: what is not said is set as there."""

    @model_validator(mode="before")
    @classmethod
    def _style_sets_what_is_not_said(cls, value: object) -> object:
        if not isinstance(value, Mapping) or "style" not in value:
            return value
        style = value["style"]
        if style != "paper" and style not in cls.styles:
            known = ", ".join(["paper", *(each for each in cls.styles if each != "paper")])
            raise PydanticCustomError("no_style", f"{cls.kind()} has no style {style}; known: {known}")
        return {**cls.styles.get(str(style), {}), **value}

    @field_validator("*", mode="before")
    @classmethod
    def _one_number_is_of_every_model(cls, value: object, info: ValidationInfo) -> object:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        takes_each = cls.model_fields[str(info.field_name)].annotation == Each
        return (float(value),) if is_number and takes_each else value  # type: ignore[arg-type]

    @classmethod
    def require(cls, num: int, *, has_base: bool, where: str) -> None:
        """Raise MergeError where it cannot merge so many models, or not without a base."""
        if cls.needs_base == "yes" and not has_base:
            raise MergeError(f"{where}: {cls.kind()} needs a base, the model that the others began as")
        least, most = cls.num_models
        if num < least or (most is not None and num > most):
            wanted = f"{least}" if most == least else f"{least} or more" if most is None else f"{least} to {most}"
            beside = " beside the base" if has_base else ""
            raise MergeError(f"{where}: {cls.kind()} merges {wanted} models{beside}, not {num}")

    def survey(self, model: Iterable[Tensors]) -> Any:
        """What must be known of the whole model, by passes over it; made once, by the first tensor's method."""
        return None

    def same_everywhere(self) -> tuple[Any, ...]:
        """The settings that a survey goes by: they are those of every tensor, or the merge is refused."""
        return ()

    def measure(self, tensors: Tensors, surveyed: Any) -> Any:
        """What must be known of a whole tensor before its parts are merged."""
        return None

    @abstractmethod
    def merge(self, part: Part, measured: Any) -> Float[Tensor, "rows width"]:
        """The same rows of the merged tensor; the tensors of the part stay as they are."""

    def for_models(self, setting: str, num: int) -> Each:
        """A setting's number for each of so many models; raises MergeError where it has another count of them."""
        said: Each = getattr(self, setting)
        if len(said) not in (1, num):
            raise MergeError(f"{self.kind()}: {setting} has {len(said)} numbers for {num} models")
        return said * num if len(said) == 1 else said


def merge_of(kind: str) -> type[Merge]:
    """The merge of a kind, with hyphens or mergekit's underscores. Raises MergeError where there is none."""
    try:
        found = find("merges", kind.replace("_", "-"))
    except PydanticCustomError as error:
        raise MergeError(f"merge: {error.message()}") from None
    assert issubclass(found, Merge)
    return found
