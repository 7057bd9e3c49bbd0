"""`task: auto`: the task that a file's columns and a model's architecture speak for, and why.

Of the tasks that suit the architecture and can read the columns, the one that reads most of them.
"""

from dataclasses import dataclass
from itertools import islice

from luthier.component import find, names
from luthier.data.columns import Layout, choose
from luthier.data.read import read
from luthier.data.sift import HEAD
from luthier.data.source import DataSource
from luthier.errors import DataError, RecipeError
from luthier.models.load import architecture_of
from luthier.models.source import ModelSource
from luthier.tasks import Task


@dataclass(frozen=True)
class Choice:
    """A task, and the reason for it as a note."""

    kind: str
    note: str


def choose_task(model: ModelSource, data: DataSource) -> Choice:
    """The task for these rows and this model.

    Raises RecipeError where none or several would do, DataError or ModelError where rows or model cannot be read.
    """
    found, built = _columns(data), architecture_of(model)
    read_by: dict[str, list[str]] = {}
    for kind in names("tasks"):
        task = _task(kind)
        if built in task.architectures and (columns := _most(task().layouts(), found, data)):
            read_by[kind] = columns
    most = max(map(len, read_by.values()), default=0)
    best = {kind: columns for kind, columns in read_by.items() if len(columns) == most}
    first = {kind: columns for kind, columns in best.items() if not _task(kind).chosen_last}
    best = first or best
    given = f"the columns {', '.join(found)} and a model built as {built}"
    if not best:
        raise RecipeError(f"task: auto finds no task for {given}; say which: {', '.join(names('tasks'))}")
    if len(best) > 1:
        raise RecipeError(f"task: auto cannot choose between {' and '.join(best)} for {given}; say which one")
    (kind, columns), *_ = best.items()
    return Choice(kind, f"task: {kind}, as it reads {', '.join(columns)} and suits a model built as {built}")


def _task(kind: str) -> type[Task]:
    task = find("tasks", kind)
    assert issubclass(task, Task)
    return task


def _columns(data: DataSource) -> list[str]:
    """The columns of the first training rows."""
    placed = read(data.train, "train", encoding=data.encoding, where="data.train")
    rows = [row for _, row in islice(placed, HEAD) if isinstance(row, dict)]
    return list(dict.fromkeys(name for row in rows for name in row))


def _most(layouts: tuple[Layout, ...], found: list[str], data: DataSource) -> list[str]:
    """The file's columns that the task reads; none where it cannot read the file."""
    try:
        return list(choose(found, layouts, data.columns, where="data.train")[1].values())
    except DataError:
        return []
