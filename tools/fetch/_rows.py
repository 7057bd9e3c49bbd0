"""Rows into files: splits by a hash of a key, so that what shares the key stays in one split."""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
SPLITS = ("train", "validation", "test")


def split_of(key: str, *, validation: float, test: float) -> str:
    """The split of a key, with these shares of all keys."""
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return "test" if share < test else "validation" if share < test + validation else "train"


def divided(rows: Iterable[Row], key: Callable[[Row], str], *, validation: float, test: float) -> dict[str, list[Row]]:
    """The rows of each split, in their order."""
    splits: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for row in rows:
        splits[split_of(key(row), validation=validation, test=test)].append(row)
    return splits


def gist(text: str) -> str:
    """The letters of a text, without case, numbers and punctuation: what reads alike is alike."""
    return re.sub(r"[\W\d_]+", " ", text.lower()).strip()


def read_json_lines(path: Path) -> list[Any]:
    """The documents of a file, one a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def write_json_lines(path: Path, rows: Sequence[Row]) -> None:
    """One row a line."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")
    tell(path, len(rows))


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """One row a line below the names of the columns."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    tell(path, len(rows))


def tell(path: Path, num_rows: int, of: str = "rows") -> None:
    """Say what was written."""
    print(f"{path}: {num_rows:,} {of}")
