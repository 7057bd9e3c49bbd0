"""Labels as users write them: what they look like, their order, and whether a model can learn them."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from luthier.errors import DataError, did_you_mean


def as_labels(value: Any, separator: str | None) -> list[str]:
    """The labels of one field: of a list, of a text with a separator, or the one it is."""
    if isinstance(value, list | tuple):
        return [str(each) for each in value]
    if separator is not None and isinstance(value, str):
        return [part.strip() for part in value.split(separator) if part.strip()]
    return [str(value)]


def guess_problem(values: Sequence[Sequence[str]]) -> str:
    """Several labels in some row: multi-label; numbers with a fraction: regression; all else: single-label."""
    if any(len(labels) != 1 for labels in values):
        return "multi-label"
    numbers = [_number_or_none(label) for (label,) in values]
    has_fraction = any(number is not None and not number.is_integer() for number in numbers)
    return "regression" if has_fraction and None not in numbers else "single-label"


def as_number(value: Any) -> float:
    """The target of a regression.

    Raises DataError where it is no finite number.
    """
    number = _number_or_none(value)
    if number is None or not math.isfinite(number):
        raise DataError(f"data: label {value!r} is no finite number, but this is a regression")
    return number


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


def require_usable(labels: Sequence[str], counts: Counter[str], problem: str) -> None:
    """Raise DataError where there is nothing to tell apart, a label is not listed, or the column looks wrong."""
    unknown = sorted(counts.keys() - set(labels))
    if unknown:
        raise DataError(f"task.labels: the training rows have {unknown[0]!r} too; name every label, or say auto")
    if problem == "single-label" and len(labels) < 2:
        raise DataError(f"data.train: every row has the label {labels[0]!r}; there is nothing to tell apart")
    if len(labels) > 20 and len(labels) > counts.total() / 2:
        raise DataError(
            f"data.train: {len(labels)} different labels in {counts.total()} rows; "
            "is it the right column, or a regression (task.problem=regression)?"
        )


def _number_or_none(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
