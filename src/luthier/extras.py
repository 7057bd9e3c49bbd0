"""Optional parts: imported when something needs them, refused with the command that installs them."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from luthier.errors import MissingExtra


def need(module: str, *, extra: str, needed_for: str) -> Any:
    """A module of an optional part.

    Raises MissingExtra where it is not installed.
    """
    require(module, extra=extra, needed_for=needed_for)
    return import_module(module)


def require(module: str, *, extra: str, needed_for: str) -> None:
    """Raise MissingExtra where a module is not installed, without importing it."""
    if find_spec(module) is None:
        raise MissingExtra(extra, needed_for)
