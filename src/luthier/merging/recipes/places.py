"""A value of a file and where it stands, so that whatever is wrong with it can be said with its line."""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from luthier.errors import MergeError, did_you_mean


@dataclass(frozen=True)
class Place:
    """A value and where it stands."""

    value: Any
    source: str
    """What messages call the file."""
    path: str = ""
    """Of keys, with dots between them."""
    line: int | None = None

    def wrong(self, said: str) -> MergeError:
        """The error to raise: where, what was found, what to do."""
        at = f"{self.source}:{self.line}" if self.line else self.source
        return MergeError(" ".join(": ".join(part for part in (at, self.path, said) if part).split()))

    def child(self, key: Any) -> "Place":
        """What a mapping or a list holds; its line is that of its key."""
        lines = getattr(getattr(self.value, "lc", None), "data", None) or {}
        line = lines[key][0] + 1 if key in lines else self.line
        path = f"{self.path}.{key}" if self.path else str(key)
        return Place(self.value[key], self.source, path, line)

    def instead(self, value: Any) -> "Place":
        """Another value in its place."""
        return replace(self, value=value)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        return isinstance(self.value, list | tuple)

    def entries(self, what: str) -> "dict[str, Place]":
        """A mapping's values by their names."""
        if not isinstance(self.value, dict):
            raise self.wrong(f"{what} is a mapping (name: value), not {shown(self.value)}")
        for key in self.value:
            if not isinstance(key, str):
                raise self.wrong(f"{what} has names for its keys, not {shown(key)}; text goes in quotes")
        return {str(key): self.child(key) for key in self.value}

    def items(self, what: str) -> "list[Place]":
        """A list's values; none of them is missing."""
        if not isinstance(self.value, list | tuple):
            raise self.wrong(f"{what} is a list, not {shown(self.value)}")
        if not self.value:
            raise self.wrong(f"{what} is a list that holds something; this one is empty")
        return [self.child(number) for number in range(len(self.value))]

    def text(self, what: str) -> str:
        """A text that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.wrong(f"{what} is text, not {shown(self.value)}")
        return str(self.value)

    def whole(self, what: str, *, least: int = 0) -> int:
        """A whole number."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or self.value < least:
            raise self.wrong(f"{what} is a whole number from {least}, not {shown(self.value)}")
        return int(self.value)

    def truth(self, what: str) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            raise self.wrong(f"{what} is true or false, not {shown(self.value)}")
        return self.value

    def one_of(self, what: str, known: Collection[str]) -> str:
        """A word of a few."""
        word = self.text(what)
        if word not in known:
            raise self.wrong(f"{what} is {', '.join(known)}, not {shown(word)}{did_you_mean(word, known)}")
        return word

    def blocks(self, what: str) -> tuple[int, int]:
        """From .. to, the end left out."""
        if not self.is_list or len(self.value) != 2:
            raise self.wrong(f"{what} are two numbers, [first block, block after the last], not {shown(self.value)}")
        first, last = (each.whole("a block's number") for each in self.items(what))
        if first >= last:
            raise self.wrong(f"{what}: from {first} to {last}, the end left out, there are no blocks")
        return first, last


def shown(value: Any) -> str:
    """A value in a message, in one short line."""
    if value is None or isinstance(value, bool | str):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = str(list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, dict) else value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."
