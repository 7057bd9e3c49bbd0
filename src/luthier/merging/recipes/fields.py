"""A recipe's settings checked against the fields of a kind of merge, value by value, with the line of each."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from luthier.component import find
from luthier.errors import LuthierError, did_you_mean
from luthier.merging.methods import Each, Merge
from luthier.merging.recipes.places import Place, shown
from luthier.merging.recipes.settings import Conditional, Gradient, Plain, Selects, Setting, value_of

WORDS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
"""True and false in YAML 1.1, which mergekit reads; in YAML 1.2 some of them are text."""
SHARES = ("density", "gamma", "select_topk")
"""Settings that are shares of a whole; of mergekit's files, in which 1.2 is 1, they are taken as they are."""

MOST = 2**53
"""Whole numbers above it are none of a setting's, and some have no place among floats."""


@dataclass(frozen=True)
class Fields:
    """The settings that a kind has."""

    merge: type[Merge]
    style: str = "paper"
    is_theirs: bool = False
    """Whether values are taken as freely as mergekit takes them: "0.5" is a number, 1 is true."""
    needed: frozenset[str] = frozenset()
    """Settings that must be said although the kind has a default."""

    @classmethod
    def of(cls, kind: Place, *, style: str = "paper", is_theirs: bool = False) -> "Fields":
        """Of the kind that a place names.

        Raises MergeError where there is none.
        """
        word = kind.text("a kind of merge").replace("_", "-")
        try:
            found = find("merges", word)
        except PydanticCustomError as error:
            raise kind.wrong(error.message()) from None
        assert issubclass(found, Merge)
        if style != "paper" and style not in found.styles and not is_theirs:
            known = ", ".join(dict.fromkeys(["paper", *found.styles]))
            raise kind.wrong(f"{word} has no style {style}; known: {known}{did_you_mean(style, found.styles)}")
        return cls(found, style, is_theirs)

    @property
    def kind(self) -> str:
        return self.merge.kind()

    @property
    def names(self) -> tuple[str, ...]:
        """Every setting; the style is said for the whole merge."""
        return tuple(name for name in self.merge.model_fields if name != "style")

    @property
    def own_style(self) -> str:
        """The style in the kind's words: one that has no variant of its own for it has the paper's."""
        return self.style if self.style in self.merge.styles else "paper"

    def default(self, name: str) -> Plain | None:
        """What holds where nothing is said; None where something must be, or where nothing is a value of its own."""
        field, styled = self.merge.model_fields[name], self.merge.styles.get(self.style, {})
        value = styled[name] if name in styled else field.get_default(call_default_factory=True)
        value = value[0] if isinstance(value, tuple) and len(value) == 1 else value
        return value if isinstance(value, int | float | str) else None

    def is_of_each(self, name: str) -> bool:
        """Whether each model has a value of its own."""
        return self.merge.model_fields[name].annotation == Each

    def setting(self, name: str, place: Place) -> Setting:
        """A value, a gradient of them, or either under conditions."""
        if self.is_theirs:
            return self._their_setting(name, place)
        if not place.is_mapping:
            return self._along(name, place)
        parts = place.entries(name).items()
        if not parts:
            raise place.wrong("says nothing; leave it out, or say a value for some tensors, as in {attention: 0.3}")
        held = [Conditional(self._along(name, each), self._selector(word, each)) for word, each in parts]
        return tuple(reversed(held))  # the last that fits counts

    def _selector(self, word: str, place: Place) -> str:
        if word.startswith("re:"):
            try:
                re.compile(word.removeprefix("re:"))
            except re.error as error:
                raise place.wrong(f"{word} is not a regular expression: {error}") from None
        return word

    def _their_setting(self, name: str, place: Place) -> Setting:
        """mergekit's: [{filter: letters of a tensor's name, value: ...}, ...], of which the first that fits holds."""
        parts = [place] if place.is_mapping else place.items(name) if place.is_list else []
        if not any(part.is_mapping for part in parts):
            return self._along(name, place)
        return tuple(self._their_condition(name, part) for part in parts)

    def _their_condition(self, name: str, place: Place) -> Conditional:
        said = place.entries("a condition")
        if odd := [key for key in said if key not in ("filter", "value")]:
            raise said[odd[0]].wrong(f"a condition has filter and value{did_you_mean(odd[0], ('filter', 'value'))}")
        if "value" not in said:
            raise place.wrong("a condition needs a value")
        where = said.get("filter")
        letters = None if where is None or where.value in (None, "*", "") else where.text("a filter")
        return Conditional(self._along(name, said["value"]), letters, is_part_of_name=letters is not None)

    def _along(self, name: str, place: Place) -> Plain | Gradient:
        if not place.is_list:
            return self._plain(name, place)
        gradient = tuple(self._plain(name, each) for each in place.items("a gradient over blocks"))
        numbers = [value for value in gradient if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(numbers) == len(gradient) > 1 and self._fault(name, numbers[0] / 2 + numbers[1] / 2):
            raise place.wrong(f"{name} takes whole numbers, so it has no gradient over blocks; say one number")
        return gradient

    def _plain(self, name: str, place: Place) -> Plain:
        value = _without_marks(place.value)
        if value is None or not isinstance(value, int | float | str):
            raise place.wrong(f"is a value, or a list of them from the first block to the last, not {shown(value)}")
        if isinstance(value, int) and abs(value) > MOST:
            raise place.wrong(f"is a number of a setting, up to {MOST:,}, not {shown(value)}")
        fault = self._fault(name, value)
        if fault and self.is_theirs:
            for other in _as_taken(value):
                if not self._fault(name, other):
                    return other
        if fault:
            raise place.wrong(f"{fault}, not {shown(value)}")
        return value

    def _fault(self, name: str, value: Plain) -> str | None:
        """What the kind says against one value by itself."""
        if name in SHARES and isinstance(value, int | float) and not self.is_theirs and not 0 <= value <= 1:
            return "is a share, from 0 to 1"
        try:
            self.merge.model_validate({"style": self.own_style, name: value})
        except ValidationError as error:
            own = [item for item in error.errors() if item["loc"][:1] == (name,)]
            return _words(own[0]) if own else None  # what else it wants is said elsewhere
        except LuthierError:
            return None
        return None

    def whole(self, settings: Mapping[str, Any], place: Place) -> None:
        """Raises MergeError where settings that are each right do not go together."""
        try:
            self.merge.model_validate({"style": self.own_style, **settings})
        except ValidationError as error:
            item = error.errors()[0]
            name = ".".join(map(str, item["loc"][:1]))
            raise place.wrong(f"{name or self.kind}: {_words(item)}") from None
        except LuthierError as error:
            raise place.wrong(str(error)) from None

    def of_tensor(
        self,
        shared: Sequence[Mapping[str, Setting]],
        own: Sequence[Mapping[str, Setting]],
        *,
        tensor: str,
        inputs: Sequence[str] = (),
        at: float,
        selects: Selects,
    ) -> dict[str, Any]:
        """What the kind is made with for one tensor.

        `shared` are the levels from the slice up, `own` the settings of each model, and `inputs` what the tensor is
        called in each of them where that is not its own name. What is not said, or said for other tensors only, is
        left out; a setting of each model holds None for a model without one.
        """
        named = inputs or [tensor] * len(own)
        found = dict[str, Any]()
        for name in self.names:
            if self.is_of_each(name):
                each = [_first(name, (mine, *shared), n, at, selects) for mine, n in zip(own, named, strict=True)]
                found |= {name: tuple(each)} if any(value is not None for value in each) else {}
            else:
                value = _first(name, shared, tensor, at, selects)
                found |= {} if value is None else {name: value}
        return found


def _first(
    name: str, levels: Sequence[Mapping[str, Setting]], tensor: str, at: float, selects: Selects
) -> Plain | None:
    for level in levels:
        if name in level:
            value = value_of(level[name], tensor=tensor, at=at, selects=selects)
            if value is not None:
                return value
    return None


def _without_marks(value: Any) -> Any:
    """A number or text as Python has it, without how the file writes it."""
    if isinstance(value, bool) or value is None:
        return value
    for plain in (int, float, str):
        if isinstance(value, plain):
            return plain(value)
    return value


def _as_taken(value: Plain) -> Iterator[Plain]:
    """What else mergekit may take a value for."""
    truth = WORDS.get(value.lower()) if isinstance(value, str) else bool(value) if value in (0, 1) else None
    if truth is not None:
        yield truth
    try:
        yield float(value)
        yield int(value)
    except (ValueError, OverflowError):
        return


def _words(item: Any) -> str:
    """What pydantic says of a value, without the names of its types."""
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    said = str(item["msg"]).removeprefix("Input ").removeprefix("Value error, ")
    return said[:1].lower() + said[1:]
