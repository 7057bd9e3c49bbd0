"""Rows out of files: each row with the place it came from, each bad one with what is wrong.

Files are read by the standard library rather than in bulk, so that every complaint can name its line.
"""

import codecs
import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.data.places import locate
from luthier.errors import DataError, did_you_mean

Row = dict[str, Any]
Placed = tuple[str, Row | str]
"""Where a row stands (`train.csv:12`), and the row or what is wrong with it."""

LARGEST_FIELD = 100_000_000
"""Characters in one CSV field; the standard library's own limit is 131,072."""


def read(source: str, split: str, *, encoding: str, where: str) -> Iterator[Placed]:
    """The rows of a file, a folder of class folders, or a hub data set's split.

    Raises DataError where there is no such source or its format is not known.
    """
    path = locate(source, where=where, error=DataError)
    if path is None:
        return _hub(source, split, where)
    if path.is_dir():
        return _class_folders(path, _skipping_mark(encoding), where)
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        near = did_you_mean(path.suffix, readers)
        raise DataError(f"{where}: cannot read {path.name}; known formats: {', '.join(readers)}{near}")
    return reader(path, _skipping_mark(encoding))


def _csv(path: Path, encoding: str) -> Iterator[Placed]:
    csv.field_size_limit(LARGEST_FIELD)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, restkey="", strict=True)
        try:
            twice = next((n for n, times in Counter(reader.fieldnames or ()).items() if n and times > 1), None)
            if twice is not None:
                raise DataError(f"{path.name}:1: two columns are called {twice}")
            for row in reader:
                place = f"{path.name}:{reader.line_num}"
                if "" in row and isinstance(row[""], list):
                    yield place, f"has {len(row[''])} more fields than the header"
                elif None in row.values():
                    yield place, "has fewer fields than the header"
                else:
                    yield place, row
        except csv.Error as error:
            raise DataError(f"{path.name}:{reader.reader.line_num}: is no CSV from here on: {error}") from error
        except UnicodeDecodeError:
            raise DataError(_first_undecodable(path, encoding)) from None


def _jsonl(path: Path, encoding: str) -> Iterator[Placed]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            place = f"{path.name}:{number}"
            try:
                row = json.loads(line.decode(encoding)) if line.strip() else None
            except UnicodeDecodeError as error:
                yield place, _undecodable(error)
            except (ValueError, RecursionError) as error:
                yield place, f"is no JSON: {error}"
            else:
                if isinstance(row, dict):
                    yield place, row
                elif row is not None or line.strip():
                    yield place, f"is JSON, but no object: {str(row)[:40]}"


def _class_folders(path: Path, encoding: str, where: str) -> Iterator[Placed]:
    """Files `LABEL/NAME.txt`: the folder's name is the label."""
    files = sorted(path.glob("*/*.txt"))
    if not files:
        raise DataError(f"{where}: {path.name} holds no class folders of .txt files (LABEL/NAME.txt)")
    for file in files:
        place = f"{file.parent.name}/{file.name}"
        try:
            yield place, {"text": file.read_text(encoding=encoding), "label": file.parent.name}
        except UnicodeDecodeError as error:
            yield place, _undecodable(error)


def _hub(source: str, split: str, where: str) -> Iterator[Placed]:
    """A hub data set, `ORG/NAME` or `ORG/NAME:CONFIG`; label numbers become the names the set gives them."""
    import datasets

    name, _, config = source.partition(":")
    try:
        rows = datasets.load_dataset(name, config or None, split=split)
    except Exception as error:  # the hub client raises dozens of kinds; each is the same to a user
        raise DataError(
            f"{where}: {source} is no file or folder here, and as a hub data set it gave: {error}"
        ) from error
    label_names = {
        column: feature.names for column, feature in rows.features.items() if isinstance(feature, datasets.ClassLabel)
    }
    for number, row in enumerate(rows):
        for column, known in label_names.items():
            row[column] = known[row[column]] if row[column] >= 0 else None
        yield f"{source}:{number}", row


def _skipping_mark(encoding: str) -> str:
    """UTF-8 that leaves out the mark some editors put at a file's beginning."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def _first_undecodable(path: Path, encoding: str) -> str:
    """Where a file cannot be decoded; files are read in large pieces, so that the reader itself cannot tell."""
    try:
        path.read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].decode(encoding).count("\n") + 1
        return f"{path.name}:{line}: {_undecodable(error)}"
    raise AssertionError(f"{path} could not be decoded, and now it can")


def _undecodable(error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    return f"byte 0x{byte:02x} at {error.start} is not {error.encoding} (say data.encoding, e.g. latin-1)"
