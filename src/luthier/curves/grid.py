"""The runs of a curve: for each size and each split the recipe of one, all of them judged by the same test rows."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.data.few import NO_LABEL, owners_of
from luthier.errors import RecipeError
from luthier.groundwork import labels_of, read_rows
from luthier.recipe import Recipe

TEST_SHARE = 0.2
"""Of the rows, for the final figures, where the recipe sets none apart."""
USUAL = 0.1
"""A label is a usual one where it has this share of the rows that it had if all labels had equally many."""
MOST = 64
"""Largest size that is chosen unasked: beyond it a run is no matter of few examples."""
CLASSES = ("single-label", "multi-label")
"""Problems whose rows have classes."""


@dataclass(frozen=True)
class Cell:
    """One run: so many rows of each label, drawn under the split's number."""

    size: int
    split: int

    @property
    def name(self) -> str:
        """Its run's folder, and its recipe's file."""
        return f"{self.size}-per-class-split-{self.split}"


@dataclass(frozen=True)
class Grid:
    """All runs of a curve."""

    recipe: Recipe
    """What they share."""
    sizes: tuple[int, ...]
    """Rows of each label, in rising order."""
    num_splits: int
    notes: tuple[str, ...]
    """What was chosen for the user."""

    def cells(self) -> Iterator[Cell]:
        """Every size of a split before the next split, so that one that is stopped early is a curve too."""
        for split in range(1, self.num_splits + 1):
            yield from (Cell(size, split) for size in self.sizes)

    def recipe_of(self, cell: Cell) -> Recipe:
        """The recipe of one run."""
        output = f"{self.recipe.output.rstrip('/')}/{cell.name}"
        changes = {"data.n_per_class": cell.size, "training.seed": cell.split, "output": output}
        return self.recipe.changed(changes, where="curve")


def grid(recipe: Recipe, sizes: Sequence[int] | None, num_splits: int) -> Grid:
    """The runs that a recipe, with these sizes or those that suit its rows, comes to.

    Raises RecipeError where its rows have no classes, DataError where they cannot be read.
    """
    if recipe.data.n_per_class is not None:
        raise RecipeError("data.n_per_class: luthier curve sets it for each of its runs; leave it out, or say --sizes")
    shared, notes = _judged_alike(recipe)
    rows = read_rows(shared)
    problem = getattr(rows.task, "problem", None)
    if problem not in CLASSES:
        told = "a regression" if problem == "regression" else rows.task.kind()
        raise RecipeError(f"curve: asks for examples per class, and the rows of {told} have none")
    shared = shared.changed({"task.problem": problem}, where="curve")
    owners = owners_of(rows.splits.train, labels_of(rows.task))
    counts = [len(numbers) for label, numbers in owners.items() if label != NO_LABEL]
    chosen = tuple(sorted(set(sizes))) if sizes else usual_sizes(counts)
    if not chosen:
        raise RecipeError("curve: a usual label has a single training row; give more rows, or say --sizes 1")
    return Grid(shared, chosen, num_splits, (*notes, *rows.splits.notes))


def _judged_alike(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """The recipe with test rows that do not depend on a run's seed."""
    changes: dict[str, Any] = {"compare": None, "search": None}
    notes = []
    if recipe.data.cut_seed is None:
        changes["data.cut_seed"] = recipe.training.seed
    if recipe.data.test is None:
        changes["data.test"] = TEST_SHARE
        notes.append(f"test: {TEST_SHARE:.0%} of the rows are set apart, the same for every run (data.test)")
    return recipe.changed(changes, where="curve"), notes


def usual_sizes(counts: Sequence[int]) -> tuple[int, ...]:
    """Powers of two, from 2 up to the rows of the rarest label that is a usual one."""
    even = sum(counts) / len(counts)
    rarest = min(count for count in counts if count >= USUAL * even)
    return tuple(2**power for power in range(1, math.floor(math.log2(min(rarest, MOST))) + 1))


def read_sizes(text: str) -> tuple[int, ...]:
    """The sizes of a command line, as in 2,4,8.

    Raises RecipeError where they are none.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise RecipeError(f"--sizes: {text!r} is no list of whole numbers above 0, as in 2,4,8,16")
    return tuple(map(int, parts))
