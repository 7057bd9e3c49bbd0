"""Class folders: files `LABEL/NAME.txt`; the folder's name is the label."""

from collections.abc import Iterator
from pathlib import Path

from luthier.data.formats import Placed
from luthier.data.formats._lines import LONGEST_LINE, not_text
from luthier.errors import DataError


def read_class_folders(path: Path, encoding: str, *, where: str) -> Iterator[Placed]:
    """A row for each file.

    Raises DataError where there is none.
    """
    files = sorted(path.glob("*/*.txt"))
    if not files:
        raise DataError(f"{where}: {path.name} holds no class folders of .txt files (LABEL/NAME.txt)")
    for file in files:
        yield f"{file.parent.name}/{file.name}", _text(file, encoding)


def _text(file: Path, encoding: str) -> dict[str, str] | str:
    num_bytes = file.stat().st_size
    if num_bytes > LONGEST_LINE:
        return f"has {num_bytes:,} bytes, more than the {LONGEST_LINE:,} of the longest text"
    try:
        return {"text": file.read_text(encoding=encoding), "label": file.parent.name}
    except UnicodeDecodeError as error:
        return not_text(error.object[error.start], error.start, error.encoding)
