"""Rows out of files: each row with the place it came from, each bad one with what is wrong.

Text files are read line by line rather than in bulk, so that every complaint can name its line.
"""

import lzma
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from luthier.data.formats import Placed
from luthier.data.formats._lines import COMPRESSED, skipping_mark
from luthier.data.formats.class_folders import read_class_folders
from luthier.data.formats.conll import read_conll
from luthier.data.formats.delimited import read_delimited
from luthier.data.formats.json_document import read_json
from luthier.data.formats.json_lines import read_json_lines
from luthier.data.formats.tables import SAVED, read_hub, read_parquet, read_saved
from luthier.data.places import locate
from luthier.errors import DataError, did_you_mean

TEXTS: dict[str, Callable[[Path, str], Iterator[Placed]]] = {
    ".csv": partial(read_delimited, delimiter=","),
    ".tsv": partial(read_delimited, delimiter="\t"),
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    **dict.fromkeys((".conll", ".conll03", ".bio", ".iob"), read_conll),
}
PARQUET = ".parquet"
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tbz2", ".txz", ".7z", ".rar")
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib")


def read(source: str, split: str, *, encoding: str, where: str) -> Iterator[Placed]:
    """The rows of a file, a folder of class folders, a saved `datasets` folder, or a hub data set's split.

    Raises DataError where there is no such source, or its format is not known or not opened.
    """
    path = locate(source, where=where, error=DataError)
    if path is None:
        return read_hub(source, split, where=where)
    return _readable(_open(path, split, skipping_mark(encoding), where), path, where)


def _open(path: Path, split: str, encoding: str, where: str) -> Iterator[Placed]:
    if path.is_dir():
        if any((path / name).is_file() for name in SAVED):
            return read_saved(path, split, where=where)
        return read_class_folders(path, encoding, where=where)
    name = path.name.lower()
    if name.endswith(ARCHIVES):
        raise DataError(f"{where}: {path.name} is an archive, and none is unpacked; unpack it, and name a file of it")
    if name.endswith(PICKLES):
        raise DataError(
            f"{where}: {path.name} may be a pickle, which runs code when it is opened, so it never is; "
            "write its rows as CSV, JSONL or Parquet"
        )
    if name.endswith(PARQUET):
        return read_parquet(path)
    kind = Path(name.removesuffix(path.suffix.lower())).suffix if path.suffix.lower() in COMPRESSED else path.suffix
    reader = TEXTS.get(kind.lower())
    if reader is None:
        known = ", ".join((*TEXTS, PARQUET))
        near = did_you_mean(path.suffix, (*TEXTS, PARQUET))
        raise DataError(
            f"{where}: cannot read {path.name}; known formats: {known}, text files also compressed "
            f"({', '.join(COMPRESSED)}){near}"
        )
    return reader(path, encoding)


def _readable(placed: Iterator[Placed], path: Path, where: str) -> Iterator[Placed]:
    """The same rows; a file that cannot be opened, or whose compression is broken, is told."""
    try:
        yield from placed
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{where}: {path.name} cannot be decompressed to its end: {error}") from error
    except OSError as error:
        raise DataError(f"{where}: {path.name} cannot be read: {error.strerror or error}") from error
