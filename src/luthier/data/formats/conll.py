"""CoNLL: a word a line, its tag in the last column, a blank line behind each sentence (Tjong Kim Sang & De Meulder
2003, https://aclanthology.org/W03-0419/). Columns are parted by tabs, or by blanks."""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from luthier.data.formats import Placed
from luthier.data.formats._lines import LONGEST_LINE, TOO_LONG, Line, lines_of, undecodable

DOCUMENT = "-DOCSTART-"
COMMENT = re.compile(r"#\s*\S+\s*=")
"""A comment of CoNLL-U, as `# sent_id = 1`; others are told by the number of their columns."""


def read_conll(path: Path, encoding: str) -> Iterator[Placed]:
    """A row for each sentence: its tokens and, where there are several columns, their tags."""
    reader = _Reader(encoding)
    lines = lines_of(path, encoding, newline="\n")
    for is_blank, block in groupby(lines, key=lambda line: line.is_whole and not line.text.strip("\ufeff \t\r\n")):
        if not is_blank:
            yield from ((f"{path.name}:{number}", row) for number, row in reader.sentence(block))


class _Reader:
    """Knows how many columns the file has: those of its first word."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._num_columns = 0

    def sentence(self, lines: Iterable[Line]) -> Iterator[tuple[int, dict[str, list[str]] | str]]:
        """The line that a sentence begins in, with its row or what is wrong with it; nothing where it has no word."""
        words, begins, fault, num_characters = list[list[str]](), 0, "", 0
        for line in lines:
            columns = _columns(line.text)
            if columns[0] == DOCUMENT or (not begins and self._is_comment(line.text, columns)):
                continue
            begins = begins or line.number
            num_characters += len(line.text)
            fault = fault or self._fault(line, columns, num_characters)
            if not fault:
                words.append(columns)
        if fault:
            yield begins, fault
        elif words and self._num_columns == 1:
            yield begins, {"tokens": [columns[0] for columns in words]}
        elif words:
            yield begins, {"tokens": [columns[0] for columns in words], "tags": [columns[-1] for columns in words]}

    def _fault(self, line: Line, columns: list[str], num_characters: int) -> str:
        """What is wrong with a line; an empty text where nothing is."""
        if not line.is_whole:
            return f"line {line.number}: {TOO_LONG}"
        if num_characters > LONGEST_LINE:
            return f"has more than {LONGEST_LINE:,} characters; a blank line must part sentences"
        if fault := undecodable(line.text, self._encoding):
            return f"line {line.number}: {fault}"
        self._num_columns = self._num_columns or len(columns)
        if len(columns) != self._num_columns:
            return f"line {line.number} has {_counted(len(columns))}, but the file has {self._num_columns}"
        return ""

    def _is_comment(self, text: str, columns: list[str]) -> bool:
        return text.startswith("#") and (
            COMMENT.match(text) is not None or (columns[0] == "#" and len(columns) != self._num_columns)
        )


def _columns(text: str) -> list[str]:
    text = text.strip("\ufeff\r\n")
    return text.split("\t") if "\t" in text else re.split(" +", text.strip(" "))


def _counted(num_columns: int) -> str:
    return f"{num_columns} column{'s' if num_columns > 1 else ''}"
