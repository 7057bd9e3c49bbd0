"""Lines of text files, plain or compressed: each with its number, none longer than memory, whatever the bytes are."""

import bz2
import codecs
import gzip
import io
import lzma
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from luthier.errors import DataError

COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

LONGEST_LINE = 8_000_000
"""Characters of a line: room for the longest field of `columns.py` written in escapes, six characters for one."""

TOO_LONG = f"the line has more than {LONGEST_LINE:,} characters"

MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
UNDECODED = re.compile("[\udc80-\udcff]")
"""What Python decodes a byte to that is no text (PEP 383)."""


class Line(NamedTuple):
    """A line with its end; of one that is too long, nothing is kept."""

    number: int
    text: str
    is_whole: bool = True


def lines_of(path: Path, encoding: str, *, newline: str) -> Iterator[Line]:
    """The lines of a file; `newline` as `open` takes it. Bytes that are no text become UNDECODED characters."""
    number = 0
    with opened(path, encoding, newline=newline) as file:
        while text := file.readline(LONGEST_LINE):
            number += 1
            if len(text) < LONGEST_LINE or _has_end(text):
                yield Line(number, text)
                continue
            while text and not _has_end(text):
                text = file.readline(LONGEST_LINE)
            yield Line(number, "", is_whole=False)


@contextmanager
def opened(path: Path, encoding: str, *, newline: str | None) -> Iterator[io.TextIOWrapper]:
    """A text file, decompressed where its name says so.

    Raises DataError where it is text of another kind from the first byte on, or cannot be decoded further.
    """
    open_bytes = COMPRESSED.get(path.suffix.lower(), open)
    with open_bytes(path, "rb") as raw:
        buffered = io.BufferedReader(raw)
        mark = buffered.peek(2)[:2]
        if encoding.startswith("utf-8") and mark in MARKS:
            raise DataError(f"{path.name}: begins as {MARKS[mark]} does; say data.encoding={MARKS[mark]}")
        try:
            yield io.TextIOWrapper(buffered, encoding=encoding, errors="surrogateescape", newline=newline)
        except UnicodeError as error:  # encodings of two bytes and more lose their step
            raise DataError(f"{path.name}: is not {encoding} throughout: {error} (say data.encoding)") from None


def undecodable(text: str, encoding: str) -> str | None:
    """What is wrong with the first byte that could not be decoded, if there is one."""
    found = None if text.isascii() else UNDECODED.search(text)
    if found is None:
        return None
    return not_text(ord(found.group()) - 0xDC00, found.start(), encoding)


def not_text(byte: int, position: int, encoding: str) -> str:
    """A byte that is no text, in words."""
    encoding = encoding.removesuffix("-sig")
    return f"byte 0x{byte:02x} at {position} is not {encoding} (say data.encoding, e.g. latin-1)"


def skipping_mark(encoding: str) -> str:
    """UTF-8 that leaves out the mark some editors put at a file's beginning."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def _has_end(text: str) -> bool:
    return text.endswith(("\n", "\r"))
