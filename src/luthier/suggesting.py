"""Which rows to label next: those that a run's model is least sure of, and no two that say nearly the same.

Margin sampling: of one label, the distance between the two likeliest (Scheffer et al. 2001,
https://doi.org/10.1007/3-540-44816-0_31); of several, that of the nearest probability from its threshold.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from luthier.data.sift import digest
from luthier.data.splits import read_rows
from luthier.data.spool import batches
from luthier.errors import DataError, LuthierError, RunError
from luthier.run import Run

NUMBER = 20
WORD = re.compile(r"\w+")
SEPARATOR = "|"
"""Between several labels of a row in a file that has no lists, where the run knows no other."""


@dataclass(frozen=True)
class Suggestion:
    """A row that is worth a label."""

    texts: Mapping[str, str]
    """Its columns."""
    suggested: str | tuple[str, ...]
    """What the model answers: a label, or several where a row may have several."""
    margin: float
    """How far the answer is from another one, in probability: 0 is a toss-up."""


def suggest(run: Run, source: str, *, number: int = NUMBER, device: str = "auto") -> tuple[list[Suggestion], list[str]]:
    """The rows of a source that are most worth labelling, the first one most, and what was noticed.

    Raises RunError where the run is no classification, DataError where no row is left to label.
    """
    problem = getattr(run.recipe.task, "problem", None)
    if problem not in ("single-label", "multi-label"):
        told = "a regression" if problem == "regression" else run.recipe.task.kind()
        raise RunError(f"suggest: asks how sure a classification is of its labels, but {run.folder} is {told}")
    rows, notes = run.read_rows(source, labelled=False)
    fresh, left_out = _fresh(rows, _labelled(run, notes))
    notes += left_out
    if not len(fresh):
        raise DataError(f"suggest: {source} has no row that is not labelled in the run's own data")
    answers = run.answer(fresh, device=device)
    margins = [_margin(answer["scores"], getattr(run.recipe.task, "threshold", 0.5), problem) for answer in answers]
    texts = list(_rows(fresh))
    chosen = diverse(margins, [words_of(" ".join(row.values())) for row in texts], number)
    found = (Suggestion(texts[i], _answered(answers[i]), margins[i]) for i in chosen)
    return list(found), notes


def _labelled(run: Run, notes: list[str]) -> set[bytes]:
    """Every row of the run's own sources, drawn or not; where one cannot be read any more, that is noted."""
    data = run.recipe.data.model_copy(update={"bad_rows": "skip"})
    layouts = [layout.without_targets() for layout in run.recipe.task.layouts()]
    names = {column.name for layout in layouts for column in layout.columns}
    data = data.model_copy(update={"columns": {ours: own for ours, own in data.columns.items() if ours in names}})
    known = set[bytes]()
    for split, source in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        if isinstance(source, str):
            try:
                known.update(map(key_of, _rows(read_rows(data, source, split, layouts, []))))
            except LuthierError as error:
                notes.append(f"the run's {split} rows cannot be read, so some of them may be suggested: {error}")
    return known


def _fresh(rows: Dataset, known: set[bytes]) -> tuple[Dataset, list[str]]:
    """The rows that are neither labelled already nor repeat another one, and how many were left out."""
    kept, seen, num_known = [], set[bytes](), 0
    for number, row in enumerate(_rows(rows)):
        key = key_of(row)
        if key in known:
            num_known += 1
        elif key not in seen:
            seen.add(key)
            kept.append(number)
    num_repeats = len(rows) - num_known - len(kept)
    notes = []
    if num_known:
        notes.append(f"{num_known:,} of {len(rows):,} rows are in the run's own data and were left out")
    if num_repeats:
        notes.append(f"{num_repeats:,} of {len(rows):,} rows repeat another one but for case, blanks or marks")
    return rows.select(kept), notes


def _rows(rows: Dataset) -> Iterator[dict[str, str]]:
    for piece in batches(rows):
        yield from (dict(zip(piece, values, strict=True)) for values in zip(*piece.values(), strict=True))


def key_of(row: Mapping[str, str]) -> bytes:
    """Equal for rows that differ in case, blanks and punctuation alone."""
    return digest(" ".join(_words(text)) or text.strip() for text in row.values())


def words_of(text: str) -> frozenset[str]:
    """The different words of a text."""
    return frozenset(_words(text))


def _words(text: str) -> list[str]:
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _margin(scores: Mapping[str, float], threshold: float, problem: str) -> float:
    if problem == "multi-label":
        return min(abs(score - threshold) for score in scores.values())
    first, second = sorted(scores.values(), reverse=True)[:2]
    return first - second


def _answered(answer: Mapping[str, Any]) -> str | tuple[str, ...]:
    return tuple(answer["labels"]) if "labels" in answer else str(answer["label"])


def diverse(margins: Sequence[float], words: Sequence[frozenset[str]], number: int) -> list[int]:
    """Numbers of rows, chosen one by one: the least margin plus the largest overlap with one that was chosen.

    Both lie between 0 and 1. A row costs its margin at least, so rows are looked at by rising margin, and no further
    than to the cheapest one.
    """
    left = sorted(range(len(margins)), key=margins.__getitem__)
    overlaps, compared = [0.0] * len(margins), [0] * len(margins)
    chosen: list[int] = []
    while left and len(chosen) < number:
        best, least = left[0], float("inf")
        for row in left:
            if margins[row] >= least:
                break
            new = (overlap(words[row], words[other]) for other in chosen[compared[row] :])
            overlaps[row], compared[row] = max([overlaps[row], *new]), len(chosen)
            if margins[row] + overlaps[row] < least:
                best, least = row, margins[row] + overlaps[row]
        chosen.append(best)
        left.remove(best)
    return chosen


def overlap(words: frozenset[str], others: frozenset[str]) -> float:
    """Jaccard's index: the share of all their words that both have."""
    both = len(words & others)
    return both / (len(words) + len(others) - both) if words or others else 1.0


def as_rows(suggestions: Sequence[Suggestion], separator: str | None = None) -> list[dict[str, Any]]:
    """As a file to fill in: the texts, an empty label, the model's answer and its margin.

    With a separator several labels are one text.
    """
    told = (each.suggested for each in suggestions)
    suggested = [each if isinstance(each, str) else list(each) for each in told]
    if separator is not None:
        suggested = [each if isinstance(each, str) else separator.join(each) for each in suggested]
    return [
        {**each.texts, "label": "", "suggested": answer, "margin": round(each.margin, 6)}
        for each, answer in zip(suggestions, suggested, strict=True)
    ]
