"""Everything short of training: what a recipe resolves to, what its rows hold, and what the model will be shown.

The same line as a run's, up to the first step; nothing is written.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel

from luthier.component import Component
from luthier.data.splits import Splits
from luthier.groundwork import Built, build, read_rows
from luthier.models.processor import Processor
from luthier.recipe import Recipe
from luthier.tasks import Task
from luthier.training.order import Order

NUM_EXAMPLES = 3
WITHOUT_LIMIT = 2**30
"""Tokens that no text has: how long texts are is measured before they are cut."""
UNBALANCED = 10
"""Times that a label may have more rows than another one before it is worth a note."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of a split's rows, before any is cut."""

    median: int
    most: int
    """95 % of the rows have this many at most."""
    longest: int
    longer: float | None
    """Share of the rows that are longer than `task.max_length`; None where the task has no such limit."""
    cut: float
    """Share of the rows that lose tokens."""


@dataclass(frozen=True)
class Example:
    """A training row as the model will see it: its tokens as text, the special ones too, and its target."""

    pieces: Sequence[tuple[str, bool]]
    """Text, and whether the loss looks at it."""
    num_tokens: int
    target: str


@dataclass(frozen=True)
class Checked:
    """What a recipe comes to."""

    recipe: Recipe
    """Resolved."""
    settled: Mapping[str, Any]
    """Settings that were auto or left open, and what they came to."""
    notes: tuple[str, ...]
    """What was noticed: rows skipped, repeats, leaks, labels out of balance, weights that are new."""
    rows: Mapping[str, int]
    labels: Mapping[str, Mapping[str, int]]
    """Split -> label -> its rows; empty for a regression."""
    numbers: Mapping[str, tuple[float, float, float]]
    """Split -> smallest, mean and largest target of a regression."""
    lengths: Mapping[str, Lengths]
    steps_per_epoch: int
    num_parameters: int
    learning: Mapping[str, int]
    """What learns: names, with * for numbers, and how many parameters they are."""
    examples: tuple[Example, ...]


def check(recipe: Recipe) -> Checked:
    """Follow a recipe up to the first step.

    Raises LuthierError where a run of it would break before that.
    """
    rows = read_rows(recipe)
    built = build(recipe, rows)
    return _gather(recipe, rows.splits, built)


def _gather(asked: Recipe, splits: Splits, built: Built) -> Checked:
    resolved, model, processor = built.recipe, built.model, built.processor
    task, named = resolved.task, splits.named()
    prepared = {name: task.prepare(rows, processor, training=name == "train") for name, rows in named.items()}
    whole = {name: _whole(task, rows, prepared[name], processor) for name, rows in named.items()}
    limit = getattr(task, "max_length", WITHOUT_LIMIT)
    labels = {name: counts for name, rows in prepared.items() if (counts := task.tally(rows))}
    order = Order.of(resolved.method.stage(task), prepared["train"], resolved.training)
    numbers = {name: _spread(rows["target"][:]) for name, rows in prepared.items() if not labels and _is_number(rows)}
    return Checked(
        recipe=resolved,
        settled=dict(_settled(asked.model_copy(update={"search": None}), resolved)),
        notes=(
            *resolved.notes,
            *splits.notes,
            *built.notes,
            *_unbalanced(task, labels.get("train", {})),
            *_in_the_way(resolved.output),
        ),
        rows={name: len(rows) for name, rows in named.items()},
        labels=labels,
        numbers=numbers,
        lengths={name: _lengths(whole[name], rows, limit) for name, rows in prepared.items()},
        steps_per_epoch=len(order.batching.epoch(0)),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        learning=_learning(model),
        examples=tuple(_examples(task, splits.train, processor)),
    )


def _is_number(rows: Dataset) -> bool:
    """Whether a row's target is a single number, and no label's."""
    target = np.asarray(rows[0]["target"] if "target" in rows.column_names else ())
    return target.ndim == 0 and target.dtype.kind == "f"


def _spread(targets: Any) -> tuple[float, float, float]:
    numbers = np.asarray(targets, dtype=float)
    return float(numbers.min()), float(numbers.mean()), float(numbers.max())


def _whole(task: Task, rows: Dataset, prepared: Dataset, processor: Processor) -> Any:
    """Tokens of each row before any is cut, where the task's limit can be lifted."""
    if not hasattr(task, "max_length"):
        return prepared["length"][:]
    whole = task.model_copy(update={"max_length": WITHOUT_LIMIT}).prepare(rows, processor)
    if "sizes" not in whole.column_names:
        return whole["length"][:]
    return np.array([max(each) for each in whole["sizes"]])  # the limit is that of each text


def _lengths(tokens: Any, prepared: Dataset, limit: int) -> Lengths:
    median, most = (int(value) for value in np.percentile(tokens, [50, 95], method="higher"))
    longer = float(np.mean(tokens > limit)) if limit < WITHOUT_LIMIT else None
    cut = float(np.mean(prepared["cut"][:])) if "cut" in prepared.column_names else 0.0
    return Lengths(median, most, int(np.max(tokens)), longer, cut)


def _settled(asked: Component, resolved: Component, place: str = "") -> Iterator[tuple[str, Any]]:
    """Settings that resolving has changed, by their path."""
    for name in type(asked).model_fields:
        before, after = getattr(asked, name), getattr(resolved, name)
        if isinstance(before, Component):
            yield from _settled(before, after, f"{place}{name}.")
        elif before != after:
            yield f"{place}{name}", after


def _learning(model: PreTrainedModel) -> dict[str, int]:
    """Parameters that learn, layers of one kind as one line."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            layer = name.rpartition(".")[0] or name
            counts[re.sub(r"\.\d+(?=\.|$)", ".*", layer)] += parameter.numel()
    return dict(counts)


def _unbalanced(task: Task, counts: Mapping[str, int]) -> Iterator[str]:
    if not counts:
        return
    rarest, commonest = min(counts, key=lambda k: counts[k]), max(counts, key=lambda k: counts[k])
    if counts[rarest] == 0:
        yield f"train: no row has the label {rarest}"
    elif counts[commonest] >= UNBALANCED * counts[rarest]:
        times = f"{counts[commonest] / counts[rarest]:,.0f} times"
        advice = "; task.class_weights=auto weighs them alike" if hasattr(task, "class_weights") else ""
        yield f"train: {commonest} has {times} the rows of {rarest}{advice}"


def _in_the_way(output: str) -> Iterator[str]:
    path = Path(output)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        yield f"output: {output} is there already; training needs another output, --overwrite or --resume"


def _examples(task: Task, rows: Dataset, processor: Processor) -> Iterator[Example]:
    """The first rows, cut as they will be, their tokens decoded back; of one in several windows the first."""
    targets = [column.name for layout in task.layouts() for column in layout.columns if column.target]
    chosen = rows.select(range(min(NUM_EXAMPLES, len(rows))))
    for number, row in enumerate(chosen):
        prepared = task.prepare(chosen.select([number]), processor)[0]
        told = ((name, row[name]) for name in dict.fromkeys(targets) if name in row)
        shown = "; ".join(f"{name} {', '.join(map(str, v)) if isinstance(v, list) else v}" for name, v in told)
        yield Example(task.show(prepared, processor), int(prepared["length"]), shown)
