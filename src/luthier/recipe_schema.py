"""The JSON schema of a recipe: editors complete settings, show their meaning and underline mistakes by it.

A recipe asks for it in its first line: `# yaml-language-server: $schema=luthier.schema.json`.
"""

from typing import Any

from luthier.recipe import Recipe

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Every setting of every kind that is installed, other packages' too."""
    written = Recipe.model_json_schema()
    definitions: dict[str, Any] = written.pop("$defs", {})
    _lift(list(definitions.values()), definitions)
    _lift(written, definitions)
    return {"$schema": DIALECT, **written, "title": "Luthier recipe", "$defs": definitions}


def _lift(part: Any, definitions: dict[str, Any]) -> None:
    """Definitions of a kind's own parts to the top, where its references look for them."""
    if isinstance(part, dict):
        for name, own in part.pop("$defs", {}).items():
            _lift(own, definitions)
            definitions[name] = own
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _lift(inner, definitions)
