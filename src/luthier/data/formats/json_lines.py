"""JSON Lines: one object a line. What is no JSON by its standard (RFC 8259) is told, though Python would read it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.data.formats import Placed, Row
from luthier.data.formats._lines import TOO_LONG, lines_of, undecodable


def read_json_lines(path: Path, encoding: str) -> Iterator[Placed]:
    """The rows; blank lines are none."""
    decoder = Decoder()
    for line in lines_of(path, encoding, newline="\n"):
        text = line.text.strip("\ufeff \t\r\n")  # files that were joined have marks in their midst
        if not line.is_whole:
            yield f"{path.name}:{line.number}", TOO_LONG
        elif text:
            yield f"{path.name}:{line.number}", undecodable(line.text, encoding) or decoder.row(text)


class Decoder:
    """Python's decoder, and what it lets pass: a key that comes twice, NaN and Infinity."""

    def __init__(self) -> None:
        self._json = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=self._constant)
        self._faults: list[str] = []

    def row(self, text: str) -> Row | str:
        """The object that a text is, or what is wrong with it."""
        try:
            row, end = self.next_row(text, 0)
        except (ValueError, RecursionError) as error:
            return f"is no JSON: {why(error)}"
        return row if end == len(text) else f"is no JSON: extra data at character {end}"

    def next_row(self, text: str, start: int) -> tuple[Row | str, int]:
        """The object that begins at a character, or what is wrong with it; and where it ends.

        Raises ValueError or RecursionError where no value that can be read begins there.
        """
        value, end = self.next_value(text, start)
        if self._faults:
            return self._faults[0], end
        return value if isinstance(value, dict) else f"is JSON, but no object: {str(value)[:40]}", end

    def next_value(self, text: str, start: int) -> tuple[Any, int]:
        """Any value that begins at a character, and where it ends; raises as `next_row`."""
        self._faults.clear()
        return self._json.raw_decode(text, start)

    def _object(self, pairs: list[tuple[str, Any]]) -> Row:
        row = dict(pairs)
        if len(row) < len(pairs):
            names = [name for name, _ in pairs]
            self._faults.append(f"has the key {next(n for n in names if names.count(n) > 1)[:40]} twice")
        return row

    def _constant(self, name: str) -> None:
        self._faults.append(f"is no JSON: it has no {name}; write null, or a number")


def why(error: Exception) -> str:
    """What the decoder met, in a few words."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[:1].lower()}{error.msg[1:]} at character {error.pos}"
    return "nested too deep" if isinstance(error, RecursionError) else "a number of thousands of digits"
