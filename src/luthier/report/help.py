"""A component's help, read from its own fields: settings, defaults, meanings."""

import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from luthier.component import GROUPS, Component, Slot, find, groups_of, names
from luthier.errors import RecipeError, did_you_mean

GUIDANCE = (
    "Encoders (BERT) understand: classes, entities, answers in a text. Decoders (GPT, Llama) go on with a text: "
    "completion, chat. Encoder-decoders (T5, BART, Marian) turn one text into another: summaries, translation. Speech "
    "models (Whisper, wav2vec2) write down what they hear."
)
"""Which architecture is for what, as in the field."""


def print_groups() -> None:
    """Every kind of every group, with its first line."""
    console = Console(highlight=False)
    for group in GROUPS:
        table = Table(box=None, show_header=False, pad_edge=False)
        for kind in names(group):
            table.add_row(f"  {kind}", f"{_first_line(find(group, kind))}{_suits(find(group, kind))}")
        console.print(f"[bold]{group}[/]")
        console.print(table)
        if group == "tasks":
            console.print(Padding(GUIDANCE, (0, 2)), style="dim")
    console.print("\nluthier describe KIND tells the settings of one.")


def _suits(component: type[Component]) -> str:
    """The architectures that a task suits; nothing for any other component."""
    architectures = getattr(component, "architectures", ())
    return f" Suits: {', '.join(architectures)}." if architectures else ""


def print_component(kind: str) -> None:
    """Settings of a kind, in every group that has it.

    Raises RecipeError where no group has it.
    """
    groups = groups_of(kind)
    if not groups:
        near = did_you_mean(kind, [each for group in GROUPS for each in names(group)])
        raise RecipeError(f"describe: nothing is called {kind}{near or '; luthier describe lists everything'}")
    console = Console(highlight=False)
    for group in groups:
        component = find(group, kind)
        console.print(f"[bold]{kind}[/] ({group[:-1]})", f"{_first_line(component)}{_suits(component)}")
        console.print(inspect.getdoc(sys.modules[component.__module__]) or "", markup=False, style="dim")
        table = Table("setting", "type", "default", "meaning", box=None, pad_edge=False)
        for name, field in settings_of(component):
            cells = (name, type_name(field), default_of(field), field.description or "")
            table.add_row(*map(escape, cells))  # a default such as [all-linear] is no markup
        console.print(table if component.model_fields else "It has no settings.")


def settings_of(component: type[Component], place: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting by its path; those of a part that is always there, one by one."""
    for name, field in component.model_fields.items():
        part = field.annotation
        is_part = isinstance(part, type) and issubclass(part, Component) and not _slot(field)
        if is_part:
            assert isinstance(part, type) and issubclass(part, Component)
            yield from settings_of(part, f"{place}{name}.")
        else:
            yield f"{place}{name}", field


def _slot(field: FieldInfo) -> Slot | None:
    return next((mark for mark in field.metadata if isinstance(mark, Slot)), None)


def default_of(field: FieldInfo) -> str:
    """The default as YAML would say it."""
    value = field.get_default(call_default_factory=True)
    return "needed" if value is PydanticUndefined else _as_yaml(value)


def type_name(field: FieldInfo) -> str:
    """A field's type and range in plain words."""
    slot = _slot(field)
    if slot is not None:
        return " | ".join(names(slot.group))
    ranges = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    limits = [f"{sign} {getattr(m, k):g}" for m in field.metadata for k, sign in ranges.items() if hasattr(m, k)]
    return " ".join([_type_name(field.annotation), *limits])


def _type_name(annotation: Any) -> str:
    if annotation is type(None):
        return "null"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(map(_type_name, arguments))
    if origin is tuple:
        return f"list of {_type_name(arguments[0])}"
    if hasattr(annotation, "__metadata__"):  # Annotated inside a union: its range is told by the error
        return _type_name(arguments[0])
    plain = {str: "text", int: "whole number", float: "number", bool: "true | false"}
    return plain.get(annotation, getattr(origin or annotation, "__name__", str(annotation)))


def _as_yaml(value: Any) -> str:
    if isinstance(value, Component) and not value.kind().startswith("-"):
        return value.kind()
    if isinstance(value, Component):  # a part that is always there has no kind
        return f"{{{', '.join(f'{name}: {_as_yaml(setting)}' for name, setting in value)}}}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_as_yaml, value))}]"
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _first_line(component: type[Component]) -> str:
    return (inspect.getdoc(component) or "").splitlines()[0]
