"""Optional parts: imported when something needs them, refused with the command that installs them."""

import logging
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from luthier.errors import MissingExtra

MISSING: Any = object()


def need(module: str, *, extra: str, needed_for: str) -> Any:
    """A module of an optional part.

    Raises MissingExtra where it is not installed.
    """
    require(module, extra=extra, needed_for=needed_for)
    return import_module(module)


def is_there(module: str) -> bool:
    """Whether a module is installed; it is not imported."""
    return find_spec(module) is not None


def require(module: str, *, extra: str, needed_for: str) -> None:
    """Raise MissingExtra where a module is not installed, without importing it."""
    if not is_there(module):
        raise MissingExtra(extra, needed_for)


def bitsandbytes(needed_for: str) -> Any:
    """The package of that name, imported without its warning of a kernel that nothing here calls, and without the
    kernel: with the package kernels installed it would be fetched from the hub.

    Raises MissingExtra where it is not installed.
    """
    require("bitsandbytes", extra="quantize", needed_for=needed_for)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if "bitsandbytes" in sys.modules:
        return sys.modules["bitsandbytes"]
    kernels = sys.modules.get("kernels", MISSING)
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        return import_module("bitsandbytes")
    finally:
        del sys.modules["kernels"]
        if kernels is not MISSING:
            sys.modules["kernels"] = kernels
