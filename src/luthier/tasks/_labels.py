"""Labels as users write them: what they look like, their order, and whether a model can learn them."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from luthier.errors import DataError, did_you_mean

SHOWN = 10
"""Labels that a message lists."""


def as_labels(value: Any, separator: str | None) -> list[str]:
    """The labels of one field: of a list, of a text with a separator, or the one it is."""
    if isinstance(value, list | tuple):
        return [str(each) for each in value]
    if separator is not None and isinstance(value, str):
        return [part.strip() for part in value.split(separator) if part.strip()]
    return [str(value)]


def guess_problem(values: Iterable[Sequence[str]]) -> str:
    """Several labels in some row: multi-label; numbers with a fraction: regression; all else: single-label."""
    all_numbers, has_fraction = True, False
    for labels in values:
        if len(labels) != 1:
            return "multi-label"
        number = _number_or_none(labels[0])
        all_numbers &= number is not None
        has_fraction |= number is not None and not number.is_integer()
    return "regression" if all_numbers and has_fraction else "single-label"


def as_number(value: Any) -> float:
    """The target of a regression.

    Raises DataError where it is no finite number.
    """
    if not _is_finite(value):
        raise DataError(f"data: label {value!r} is no finite number, but this is a regression")
    return float(value)


def number_of(label: str, labels: Sequence[str]) -> int:
    """A label's number in the model's order.

    Raises DataError where the training rows did not have it.
    """
    if label not in labels:
        raise DataError(f"data: label {label!r} is not among the training rows' labels{did_you_mean(label, labels)}")
    return labels.index(label)


def in_order(counts: Counter[str]) -> tuple[str, ...]:
    """Whole numbers by size, all else by the alphabet."""
    whole = all(label.removeprefix("-").isdecimal() for label in counts)
    return tuple(sorted(counts, key=int if whole else None))


def require_usable(labels: Sequence[str], counts: Counter[str], problem: str, num_rows: int) -> None:
    """Raise DataError where there is nothing to tell apart, a label is not listed, or the column looks wrong."""
    unknown = sorted(counts.keys() - set(labels))
    if unknown:
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        listed = ", ".join(map(repr, unknown[:SHOWN])) + more
        raise DataError(f"task.labels: the training rows have {listed} too; name every label, or say auto")
    if problem == "single-label" and len(labels) < 2:
        raise DataError(f"data.train: every row has the label {labels[0]!r}; there is nothing to tell apart")
    if not labels:
        raise DataError("data.train: no row has a label; there is nothing to learn")
    if num_rows < len(labels):
        raise DataError(f"data.train: {num_rows} rows are fewer than the {len(labels)} labels; give more rows of each")
    if len(labels) > 20 and len(labels) > counts.total() / 2:
        raise DataError(
            f"data.train: {len(labels)} different labels in {counts.total()} rows; "
            "is it the right column, or a regression (task.problem=regression)?"
        )


def require_known(values: Iterable[Sequence[str]], labels: Sequence[str], *, num_rows: int, where: str) -> None:
    """Raise DataError that counts every label which is not one of the task's."""
    known, unknown, num_bad = set(labels), Counter[str](), 0
    for row in values:
        found = set(row) - known
        unknown.update(found)
        num_bad += bool(found)
    if num_bad:
        raise DataError(
            f"{where}: {num_bad} of {num_rows} rows have labels that the training rows have not:\n"
            f"{_listed(unknown, labels)}\nMend them, or give training rows that have them"
        )


def require_single(values: Iterable[Sequence[str]], *, num_rows: int, where: str) -> None:
    """Raise DataError that counts the rows which have not one label, but several or none."""
    found = Counter(", ".join(row) or "none" for row in values if len(row) != 1)
    if found:
        raise DataError(
            f"{where}: {found.total()} of {num_rows} rows have not one label, but this is a single-label problem:\n"
            f"{_listed(found)}\nMend them, or say task.problem=multi-label"
        )


def require_numbers(values: Iterable[Any], *, num_rows: int, where: str) -> None:
    """Raise DataError that counts the labels which are no finite numbers."""
    found = Counter(str(value) for value in values if not _is_finite(value))
    if found:
        raise DataError(
            f"{where}: labels of {found.total()} of {num_rows} rows are no finite numbers, but this is a regression:\n"
            f"{_listed(found)}\nMend them, or say task.problem=single-label"
        )


def _listed(counts: Counter[str], known: Sequence[str] = ()) -> str:
    """The most frequent of them, a line each."""
    lines = [
        f"  {label[:60]!r} in {num_rows} row{'s' if num_rows > 1 else ''}{did_you_mean(label, known)}"
        for label, num_rows in counts.most_common(SHOWN)
    ]
    more = len(counts) - SHOWN
    return "\n".join((*lines, f"  and {more} more") if more > 0 else lines)


def _is_finite(value: Any) -> bool:
    number = _number_or_none(value)
    return number is not None and math.isfinite(number)


def _number_or_none(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
