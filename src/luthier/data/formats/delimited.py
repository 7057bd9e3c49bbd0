"""CSV and TSV (RFC 4180). A row that is none costs the line it begins in, never the rest of the file."""

import csv
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

from luthier.data.formats import Placed
from luthier.data.formats._lines import LONGEST_LINE, TOO_LONG, Line, lines_of, undecodable
from luthier.errors import DataError


def read_delimited(path: Path, encoding: str, *, delimiter: str) -> Iterator[Placed]:
    """The rows below a header.

    Raises DataError where the header cannot be used.
    """
    header: list[str] | None = None
    for number, row in _rows(lines_of(path, encoding, newline=""), delimiter, encoding):
        place = f"{path.name}:{number}"
        if header is None:
            header = _header(row, place)
        elif isinstance(row, str):
            yield place, row
        elif len(row) > len(header):
            yield place, f"has {len(row) - len(header)} more fields than the header"
        elif len(row) < len(header):
            yield place, "has fewer fields than the header"
        else:
            yield place, dict(zip(header, row, strict=True))


def _header(row: list[str] | str, place: str) -> list[str]:
    if isinstance(row, str):
        raise DataError(f"{place}: the header cannot be read: {row}")
    twice = next((name for name, times in Counter(row).items() if name and times > 1), None)
    if twice is not None:
        raise DataError(f"{place}: two columns are called {twice}")
    return row


def _rows(lines: Iterator[Line], delimiter: str, encoding: str) -> Iterator[tuple[int, list[str] | str]]:
    """The line each row begins in, with its fields or what is wrong with it."""
    csv.field_size_limit(LONGEST_LINE)
    feed = _Feed(lines)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.begin()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except (csv.Error, _TooLong) as error:
            yield feed.row[0].number, _fault(error, feed.row)
            feed.put_back()
            continue
        if not fields:
            continue
        faults = (undecodable(line.text, encoding) for line in feed.row)
        yield feed.row[0].number, next((fault for fault in faults if fault), fields)


def _fault(error: Exception, row: list[Line]) -> str:
    if isinstance(error, _TooLong):
        return f"opens a quote that is not closed within {LONGEST_LINE:,} characters" if row[0].is_whole else TOO_LONG
    if "unexpected end" in str(error):
        return "opens a quote that is never closed"
    return f"is no CSV: {error}" + (f" in line {row[-1].number}" if len(row) > 1 else "")


class _TooLong(Exception):
    """A line or a row that is longer than memory should hold."""


class _Feed:
    """Lines for the csv reader. Those of the row at hand are kept, so that they can be read again but the first."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._ahead: deque[Line] = deque()
        self._num_characters = 0
        self.row: list[Line] = []

    def begin(self) -> None:
        """The next line begins a row."""
        self.row = []
        self._num_characters = 0

    def put_back(self) -> None:
        """Begin again behind the row's first line: a stray quote there must not swallow the lines that follow."""
        self._ahead.extendleft(reversed(self.row[1:]))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else next(self._lines)
        self.row.append(line)
        self._num_characters += len(line.text)
        if not line.is_whole or self._num_characters > LONGEST_LINE:
            raise _TooLong
        return line.text
