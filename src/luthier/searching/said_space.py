"""The space as a recipe says it, read with every mistake at its place."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from luthier.trials.domains import Choice, is_domain
from luthier.trials.space import Space, plainly_set

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
        raise at_their_places(found)
    Space.of(value)  # together they may say one setting twice
    return {path: plain(said) for path, said in value.items()}


def at_their_places(found: Iterable[tuple[str, str]], place: tuple[str, ...] = ()) -> ValidationError:
    """Mistakes by key path, as pydantic has them."""
    details = [
        InitErrorDetails(type="value_error", loc=(*place, path), input=None, ctx={"error": ValueError(told)})
        for path, told in found
    ]
    return ValidationError.from_exception_data("space", details)


def refused(space: Space, trial: Callable[[Mapping[str, Any]], str | None]) -> list[tuple[str, str]]:
    """What of a space makes no recipe, by the key path under which the space says it.

    `trial` says what is wrong with the recipe after changes by key path, if anything is.
    """
    found: dict[str, str] = {}
    for parameter, values in space.probes():
        root = parameter.under[0][0] if parameter.under else parameter.path
        if root not in found and (told := trial(space.settings(values))) is not None:
            found[root] = told.removeprefix(f"{root}: ")
    return list(found.items())


def mistakes(path: Any, said: Any, space: Mapping[Any, Any]) -> Iterator[str]:
    """What is wrong with one setting's domain."""
    if not isinstance(path, str):
        yield f"is no key path, as those in {EXAMPLE}"
    elif (why := forbidden(path)) is not None:
        yield f"is never searched: {why}"
    elif (above := _above(path, space)) is not None:
        yield f"lies below {above}, which is searched itself; say it inside an option of {above}"
    elif not is_domain(said):
        inner = (
            next((key for key, each in said.items() if is_domain(each)), None) if isinstance(said, Mapping) else None
        )
        yield f"says {DOMAINS}" if inner is None else f"key paths are not nested; write {path}.{inner}"
    else:
        try:
            inner_space = Space.of({path: said})
        except ValidationError as error:
            yield from dict.fromkeys(_words(item) for item in error.errors())
        except ValueError as error:
            yield str(error)
        else:
            for inner_path in dict.fromkeys(_below(inner_space)):
                if (why := forbidden(inner_path)) is not None:
                    yield f"{inner_path} is never searched: {why}"


def _below(space: Space) -> Iterator[str]:
    """What an option changes beside the setting itself: the key paths that it searches, and those that it sets."""
    yield from (parameter.path for parameter in space.parameters[1:])
    for parameter in space.parameters:
        for option in parameter.domain.choice if isinstance(parameter.domain, Choice) else ():
            yield from plainly_set(parameter.path, option)


def _above(path: str, space: Mapping[Any, Any]) -> str | None:
    """The setting of the space that holds this one, if one does and may itself be searched."""
    over = (each for each in space if path.startswith(f"{each}."))
    return next((each for each in over if is_domain(space[each]) and forbidden(each) is None), None)


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
    if item["type"] in ("missing", "too_long", "tuple_type"):
        return "a range reads [least, most]"
    if item["type"] == "too_short":
        return "a choice has an option at least"
    return f"{str(item['msg']).removeprefix('Input ')}, not {item['input']}"
