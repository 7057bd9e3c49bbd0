"""Luthier fine-tunes pretrained transformers and checks its own work.

The public API; each name is imported when it is first used, so that `import luthier` is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luthier.adapters import attach
    from luthier.api import load, merge, search, train, tune
    from luthier.errors import LuthierError
    from luthier.recipe import Recipe
    from luthier.run import Run
    from luthier.sharing import share

_HOMES = {
    "LuthierError": "luthier.errors",
    "Recipe": "luthier.recipe",
    "Run": "luthier.run",
    "attach": "luthier.adapters",
    "load": "luthier.api",
    "merge": "luthier.api",
    "search": "luthier.api",
    "share": "luthier.sharing",
    "train": "luthier.api",
    "tune": "luthier.api",
}

__version__ = "0.1.0"
__all__ = ["LuthierError", "Recipe", "Run", "attach", "load", "merge", "search", "share", "train", "tune"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'luthier' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
