"""A recipe's mistakes in words: file and line, setting, what was found, what to do."""

import json
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError

from luthier.component import Component, Slot, find, names
from luthier.errors import did_you_mean
from luthier.other_names import INSTEAD, KINDS_INSTEAD, OUR_NAMES

Path = tuple[str | int, ...]


def explain(error: ValidationError, root: type[Component], raw: Any, source: str) -> str:
    """Every mistake as one line; alternatives of one setting are one mistake."""
    found: dict[Path, list[dict[str, Any]]] = {}
    for item in error.errors():
        found.setdefault(_setting(item, raw), []).append(dict(item))
    lines = []
    for path, items in found.items():
        line = _line(raw, path)
        places = (f"{source}:{line}" if line else source, ".".join(map(str, path)), _words(items, path, root, raw))
        lines.append(": ".join(place for place in places if place))
    return "\n".join(lines)


def _setting(item: Any, raw: Any) -> Path:
    """The error's place without the names of the alternatives that pydantic tried there."""
    path: list[str | int] = []
    for key in item["loc"]:
        if item["type"] == "missing" and isinstance(raw, dict) and key not in raw:
            return (*path, key)
        try:
            raw = raw[key]
        except (KeyError, IndexError, TypeError):
            break
        path.append(key)
    return tuple(path)


def _words(items: list[dict[str, Any]], path: Path, root: type[Component], raw: Any) -> str:
    item = items[0]
    if item["type"] == "extra_forbidden":
        return _unknown(path, root, raw)
    if item["type"] == "missing":
        return "is needed, and missing" if item["loc"][-1:] == path[-1:] else "has too few items"
    if item["type"] == "unknown_kind":
        return _unknown_kind(item, path, root, raw)
    if item["type"] == "no_kind":
        return str(item["msg"])
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    wanted = " or ".join(dict.fromkeys(_wanted(each) for each in items))
    return f"{wanted}, not {_shown(item['input'])}"


def _wanted(item: dict[str, Any]) -> str:
    message = (
        str(item["msg"])
        .removeprefix("Input ")
        .partition(" or instance of ")[0]
        .partition(" after validation")[0]
        .replace("Tuple", "list")
        .replace("tuple", "list")
        .replace("dictionary", "mapping")
    )
    return message[0].lower() + message[1:] if message else "is not understood"


def _shown(value: Any) -> str:
    value = list(value) if isinstance(value, tuple) else value
    is_word = value is None or isinstance(value, bool)  # null, true and false, as YAML has them
    text = json.dumps(value) if is_word else repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _unknown_kind(item: dict[str, Any], path: Path, root: type[Component], raw: Any) -> str:
    """An unknown kind: what another tool means by it, else the near one."""
    said = item["input"]
    kind = str(said.get("kind") if isinstance(said, Mapping) else said)
    owner = _component_at(root, path[:-1], raw)
    field = owner.model_fields.get(str(path[-1])) if owner is not None and path else None
    slot = next((mark for mark in field.metadata if isinstance(mark, Slot)), None) if field is not None else None
    theirs = KINDS_INSTEAD.get((slot.group, kind)) if slot is not None else None
    return str(item["msg"]) if theirs is None else f"{kind} {theirs}"


def _unknown(path: Path, root: type[Component], raw: Any) -> str:
    """An unknown setting: where another tool's name lives here, where one of ours does, the near one, all there are."""
    owner = _component_at(root, path[:-1], raw)
    fields = list(owner.model_fields) if owner is not None else []
    name = str(path[-1])
    owner_name = "a recipe" if len(path) == 1 else ".".join(map(str, path[:-1]))
    if name in OUR_NAMES:
        return f"is another tool's name; here it is {OUR_NAMES[name]}"
    if name in INSTEAD:
        return INSTEAD[name]
    elsewhere = _elsewhere(name, root, raw)
    if elsewhere is not None:
        return f"is not a setting of {owner_name}; write {elsewhere}"
    near = did_you_mean(name, fields)
    return f"unknown setting of {owner_name}{near}" + ("" if near else f"; it has {', '.join(fields) or 'none'}")


def _elsewhere(name: str, root: type[Component], raw: Any) -> str | None:
    """The path of the part that has a setting of this name, where one part does."""
    owners = []
    for part, field in root.model_fields.items():
        if part not in raw and field.default is None:
            continue  # a part that few recipes have
        owner = _component_at(root, (part,), raw if part in raw else {part: {}})
        if owner is not None and name in getattr(owner, "model_fields", {}):
            owners.append(f"{part}.{name}")
    return owners[0] if len(owners) == 1 else None


def _component_at(root: type[Component], path: Path, raw: Any) -> type[Component] | None:
    """The class whose settings stand at a place of the recipe."""
    owner: type[Component] | None = root
    for key in path:
        raw = raw[key]
        field = owner.model_fields.get(str(key)) if owner is not None else None
        if field is None:
            return None
        slot = next((mark for mark in field.metadata if isinstance(mark, Slot)), None)
        if slot is not None:
            kind = raw.get("kind", slot.default) if isinstance(raw, Mapping) else raw
            owner = find(slot.group, kind) if isinstance(kind, str) and kind in names(slot.group) else None
        else:
            owner = _part(field.annotation)
    return owner


def _part(annotation: Any) -> type[Component] | None:
    """The class of a part, which may be left out; None where a setting is no part."""
    kinds = [annotation, *get_args(annotation)]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Component)), None)


def _line(raw: Any, path: Path) -> int | None:
    """The line of a setting, where the recipe was read from a file and not overridden."""
    line = None
    for key in path:
        marks = getattr(raw, "lc", None)
        positions = getattr(marks, "data", None) or {}
        if key in positions:
            line = positions[key][0] + 1
        elif isinstance(raw, dict) and key in raw:
            return None
        try:
            raw = raw[key]
        except (KeyError, IndexError, TypeError):
            break
    return line
