"""A JSON document: a list of objects, or an object with one list of objects in it; read piece by piece.

Some write one object a line and call it .json: that is read as well.
"""

from collections.abc import Iterator
from io import TextIOWrapper
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, NoReturn

from luthier.data.formats import Placed, Row
from luthier.data.formats._lines import LONGEST_LINE, lines_of, opened, undecodable
from luthier.data.formats.json_lines import Decoder, read_json_lines, why
from luthier.errors import DataError

PIECE = 2**20
"""Characters that are read at once."""


def read_json(path: Path, encoding: str) -> Iterator[Placed]:
    """The rows of a document.

    Raises DataError where it is no JSON, or holds no list of objects, or several.
    """
    if _is_json_lines(path, encoding):
        yield from read_json_lines(path, encoding)
        return
    with opened(path, encoding, newline=None) as file:
        window = _Window(file, path.name, encoding)
        begins = window.peek()
        if begins == "[":
            yield from _elements(window)
        elif begins == "{":
            yield from _list_within(window)
        elif begins:
            window.refuse("is neither a list of objects nor an object with a list of objects in it")
        if window.peek():
            window.refuse("has more behind its end")


def _is_json_lines(path: Path, encoding: str) -> bool:
    """Whether the first line is a whole object and another line follows."""
    lines = takewhile(lambda line: line.is_whole, lines_of(path, encoding, newline="\n"))
    head = list(islice((line for line in lines if line.text.strip()), 2))
    return len(head) == 2 and isinstance(Decoder().row(head[0].text.strip("\ufeff \t\r\n")), dict)


class _Window:
    """The part of a document that is in memory: it grows at its end and is let go at its beginning."""

    def __init__(self, file: TextIOWrapper, name: str, encoding: str) -> None:
        self._file, self._name, self._encoding = file, name, encoding
        self._decoder = Decoder()
        self._text, self._start, self._at = "", 0, 0
        self._line, self._counted = 1, 0

    @property
    def place(self) -> str:
        """File and line of what comes next."""
        self._count_lines()
        return f"{self._name}:{self._line}"

    def refuse(self, problem: str) -> NoReturn:
        """Raise the DataError that tells a problem with its place."""
        raise DataError(f"{self.place}: {problem}")

    def peek(self) -> str:
        """The next character that is no white space; nothing at the end."""
        while True:
            rest = self._text[self._at : self._at + 1]
            if rest and rest not in " \t\r\n":
                return rest
            self._at += len(rest)
            if not rest and not self._more():
                return ""

    def take(self, expected: str) -> str:
        """One of some characters, which must come next."""
        found = self.peek()
        if not found or found not in expected:
            self.refuse(f"is no JSON from here on: {' or '.join(expected)} is missing")
        self._at += 1
        return found

    def row(self) -> Row | str:
        """The list's next element, or what is wrong with it."""
        row = self._next(self._decoder.next_row)
        return undecodable(self._text[self._start : self._at], self._encoding) or row

    def value(self) -> Any:
        """Whatever value comes next."""
        return self._next(self._decoder.next_value)

    def _next(self, decode: Any) -> Any:
        while True:
            try:
                value, end = decode(self._text, self._at)
                if end < len(self._text) or not self._more():  # a number may go on in the next piece
                    self._start, self._at = self._at, end
                    return value
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > LONGEST_LINE or not self._more():
                    self.refuse(f"is no JSON from here on: {why(error)}")

    def _more(self) -> bool:
        """Read on, as much again as is there, so that a long value is not decoded once for every piece."""
        piece = self._file.read(max(PIECE, len(self._text) - self._at))
        if piece:
            self._count_lines()
            self._text, self._at, self._counted = self._text[self._at :] + piece, 0, 0
        return bool(piece)

    def _count_lines(self) -> None:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at


def _elements(window: _Window) -> Iterator[Placed]:
    """The elements of the list that begins here, as rows."""
    window.take("[")
    if window.peek() == "]":
        window.take("]")
        return
    while True:
        window.peek()
        yield window.place, window.row()
        if window.take(",]") == "]":
            return


def _list_within(window: _Window) -> Iterator[Placed]:
    """The rows of the one list of objects in the object that begins here."""
    found: list[str] = []
    window.take("{")
    while window.peek() != "}":
        name = str(window.value())
        window.take(":")
        if window.peek() != "[":
            window.value()
        else:
            rows = _elements(window)
            first = next(rows, None)
            if first is not None and isinstance(first[1], dict):
                found.append(name)
                yield first
                yield from rows
            else:
                for _ in rows:
                    pass
        if len(found) > 1:
            window.refuse(f"has two lists of objects, {found[0]} and {found[1]}; make a file of each")
        if window.peek() == ",":
            window.take(",")
        elif window.peek() != "}":
            window.take(",}")
    window.take("}")
    if not found:
        window.refuse("has no list of objects in it; write a list of objects, or one object a line (.jsonl)")
