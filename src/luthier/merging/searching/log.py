"""What a search has tried, line by line: one that was stopped goes on, and judges nothing twice."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from luthier.errors import MergeError
from luthier.merging.searching.space import Point, Settings

Scores = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Candidate:
    """A point that was tried."""

    number: int
    point: Point
    settings: Settings
    scores: Scores
    """Task -> metric -> value."""
    objective: float
    duration_s: float


class Log:
    """A file whose first line says what is searched for, and each further one what was tried."""

    def __init__(self, path: Path, about: Mapping[str, Any], *, resume: bool) -> None:
        """Raises MergeError where there is one already and it is not to be gone on with, or is of another search."""
        self.path = path
        self.kept: dict[Point, Candidate] = {}
        about = json.loads(json.dumps(about))
        lines = self._lines()
        if lines and not resume:
            raise MergeError(f"{path}: exists; say --resume to go on, or choose another output")
        if not lines:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(about) + "\n", encoding="utf-8")
        elif changed := sorted(key for key in {*about, *lines[0]} if about.get(key) != lines[0].get(key)):
            raise MergeError(f"{path}: is of a search with another {changed[0]}; choose another output")
        for line in lines[1:]:
            line["point"] = tuple(line["point"])
            self.kept[line["point"]] = Candidate(**line)

    def add(self, candidate: Candidate) -> None:
        """A line, on the disk before anything else is tried."""
        self.kept[candidate.point] = candidate
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(candidate)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> list[dict[str, Any]]:
        """Those that are whole; one that a kill cut off goes, so that the next does not hang on it."""
        if not self.path.is_file():
            return []
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            os.truncate(self.path, len(whole.encode("utf-8")))
        return [json.loads(line) for line in whole.splitlines()]
