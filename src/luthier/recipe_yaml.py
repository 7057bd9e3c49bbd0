"""YAML as recipes use it: YAML 1.2 with its line numbers, without what can explode, run code or nest without end.

An alias of 271 bytes can stand for 43 million values, so anchors, aliases and tags are refused where they stand.
"""

import io
from collections.abc import Iterable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, Event, MappingStartEvent, NodeEvent, ScalarEvent, SequenceStartEvent
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from luthier.errors import RecipeError

MAX_BYTES = 1_000_000
MAX_DEPTH = 20


def load(text: str, source: str) -> Any:
    """Plain objects that know their lines.

    Raises RecipeError with the line where the text is no YAML, or more of it than a recipe needs.
    """
    require_short(len(text.encode("utf-8", "surrogatepass")), source)
    try:
        _require_plain(_yaml().parse(text), source)
        return _yaml().load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise RecipeError(f"{source}{line}: is no YAML: {problem}") from None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, AssertionError) as error:
        # The reader itself breaks on some values, as on the date 2024-99-99 and on a number such as 0o9.
        raise RecipeError(f"{source}: is no YAML: {error or type(error).__name__} (text goes in quotes)") from None


def require_short(num_bytes: int, source: str) -> None:
    """Raise RecipeError where a text is too long to be a recipe."""
    if num_bytes > MAX_BYTES:
        raise RecipeError(f"{source}: is over {MAX_BYTES:,} bytes; a recipe is a page of settings")


def dump(content: Any) -> str:
    """The text of plain objects; it is read back as it was.

    Raises RecipeError where it would be too long to be read back.
    """
    stream = io.StringIO()
    _yaml().dump(_plain(content), stream)
    text = stream.getvalue()
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise RecipeError(f"the recipe, every label written out, is over {MAX_BYTES:,} bytes; are the labels texts?")
    return text


def _require_plain(events: Iterable[Event], source: str) -> None:
    depth = 0
    for event in events:
        odd = None
        if isinstance(event, AliasEvent):
            odd = f"*{event.anchor} is an alias, which recipes do not have; write the value out"
        elif isinstance(event, NodeEvent) and event.anchor is not None:
            odd = f"&{event.anchor} is an anchor, which recipes do not have; write the value out where it is needed"
        elif getattr(event, "ctag", None):
            odd = "!... is a tag, which recipes do not have; write the plain value"
        elif isinstance(event, ScalarEvent) and any("\ud800" <= mark <= "\udfff" for mark in event.value):
            odd = "has half a character, which no file can hold"
        depth += isinstance(event, MappingStartEvent | SequenceStartEvent)
        depth -= type(event).__name__ in ("MappingEndEvent", "SequenceEndEvent")
        if depth > MAX_DEPTH:
            odd = f"is nested more than {MAX_DEPTH} deep; no setting is"
        if odd is not None:
            raise RecipeError(f"{source}:{event.start_mark.line + 1}: {odd}")


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.default_flow_style = False
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 110
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def _plain(value: Any) -> Any:
    """Tuples as the lists that YAML knows; text with marks that a YAML reader would fold away, in quotes."""
    if isinstance(value, dict):
        return {_plain(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, str) and not value.isprintable():
        return DoubleQuotedScalarString(value)
    # Lists anew: one that stands in two places would be written as an anchor and an alias.
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value
