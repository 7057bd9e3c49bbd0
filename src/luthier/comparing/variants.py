"""The variants of a recipe: what its section `compare` lists, each with what it changes, or the usual methods."""

from collections.abc import Mapping
from typing import Any

from luthier.errors import RecipeError
from luthier.recipe import Recipe

USUAL: Mapping[str, Mapping[str, Any]] = {
    "full": {"method": "full"},
    "last-2": {"method": {"kind": "partial", "train": ["last-2", "head"]}},
    "head": {"method": {"kind": "partial", "train": ["head"]}},
    "bitfit": {"method": {"kind": "partial", "train": ["bias", "head"]}},
    "lora": {"method": "lora"},
    "dora": {"method": {"kind": "lora", "dora": True}},
    "ia3": {"method": "ia3"},
    "adapter": {"method": "adapter"},
    "prefix": {"method": "prefix"},
    "prompt": {"method": "prompt"},
}
"""Compared where the recipe lists nothing."""
HEADLESS: Mapping[str, Mapping[str, Any]] = {
    **{name: changes for name, changes in USUAL.items() if name != "head"},
    "last-2": {"method": {"kind": "partial", "train": ["last-2"]}},
    "bitfit": {"method": {"kind": "partial", "train": ["bias"]}},
}
"""The same for a model without a head."""
OF_CLASSES: Mapping[str, Mapping[str, Any]] = {"setfit": {"method": "setfit"}}
"""And where texts have classes."""


def variants(recipe: Recipe) -> dict[str, Recipe]:
    """Each variant's recipe by its name; its run's folder lies in that of the comparison.

    Raises RecipeError where one is no recipe, or its name is no name of a folder.
    """
    has_classes = recipe.task.kind() == "text-classification" and recipe.task.model_dump()["problem"] != "regression"
    usual = {**USUAL, **OF_CLASSES} if has_classes else HEADLESS if recipe.task.auto_model == "AutoModel" else USUAL
    found = {}
    for name, changes in (recipe.compare or usual).items():
        if not name or name.startswith(".") or "/" in name or "\\" in name:
            raise RecipeError(f"compare: {name!r} is to be the name of a folder; use letters, digits and -")
        output = {"output": f"{recipe.output.rstrip('/')}/{name}", "compare": None, "search": None}
        found[name] = recipe.changed({**changes, **output}, where=f"compare.{name}")
    return found
