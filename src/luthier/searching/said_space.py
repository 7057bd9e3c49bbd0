"""The space as a recipe says it, read with every mistake at its place."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from luthier.trials.domains import is_domain
from luthier.trials.space import Space

EXAMPLE = "{training.learning_rate: {log: [1e-5, 1e-3]}}"
DOMAINS = "{choice: [a, b]}, {log: [1e-5, 1e-3]}, {uniform: [0, 1]} or {int: [1, 8]}"
NEVER = {
    "training.seed": "a seed is a replicate, not a setting: the winner is trained with several (search.replicates)",
    "training.epochs": "the length of a run is what short looks save; all trials have the recipe's",
    "training.steps": "the length of a run is what short looks save; all trials have the recipe's",
    "output": "trials lie in the folder of the search",
    "search": "a search does not search itself",
    "compare": "a search compares settings, not lists of them",
    "model": "trials share the recipe's base model; luthier compare sets models side by side",
    "data": "scores on other rows cannot be compared",
    "task.kind": "scores of other tasks cannot be compared",
}
"""Paths that no search may change, with what lies below them, and why."""


def read(value: Any) -> Any:
    """The space as plain objects, or auto.

    Raises ValidationError with each mistake at its key path, ValueError where it is no space at all.
    """
    if value == "auto":
        return "auto"
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"says auto, or settings by their key paths, as {EXAMPLE}")
    found = [(str(path), told) for path, said in value.items() for told in mistakes(path, said, value)]
    if found:
        raise errors(found)
    return {path: plain(said) for path, said in value.items()}


def errors(found: list[tuple[str, str]]) -> ValidationError:
    """Mistakes by key path, as pydantic has them."""
    details = [
        InitErrorDetails(type="value_error", loc=(path,), input=None, ctx={"error": ValueError(told)})
        for path, told in found
    ]
    return ValidationError.from_exception_data("space", details)


def mistakes(path: Any, said: Any, space: Mapping[Any, Any]) -> Iterator[str]:
    """What is wrong with one setting's domain."""
    if not isinstance(path, str):
        yield f"is no key path, as those in {EXAMPLE}"
    elif (why := forbidden(path)) is not None:
        yield f"is never searched: {why}"
    elif (above := next((other for other in space if path.startswith(f"{other}.")), None)) is not None:
        yield f"lies below {above}, which is searched itself; say it inside an option of {above}"
    elif not is_domain(said):
        inner = isinstance(said, Mapping) and any(is_domain(each) for each in said.values())
        yield f"key paths are not nested; write {path}.{next(iter(said))}: .." if inner else f"says {DOMAINS}"
    else:
        try:
            inner_space = Space.of({path: said})
        except ValidationError as error:
            yield from dict.fromkeys(_words(item) for item in error.errors())
        except ValueError as error:
            yield str(error)
        else:
            for parameter in inner_space.parameters[1:]:
                if (why := forbidden(parameter.path)) is not None:
                    yield f"{parameter.path} is never searched: {why}"


def forbidden(path: str) -> str | None:
    """Why a setting is never searched; None where it may be."""
    if path == "task":
        path = "task.kind"
    return next((why for name, why in NEVER.items() if path == name or path.startswith(f"{name}.")), None)


def plain(value: Any) -> Any:
    """Plain mappings and lists of what a YAML reader gives."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def _words(item: Any) -> str:
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    return f"{str(item['msg']).removeprefix('Input ')}, not {item['input']}"
