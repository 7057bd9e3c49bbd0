"""Runs modules of a package by their names: each has `write(folder)`, which fills a folder and says what it holds."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules


def write_each(package: str, parent: Path, names: Sequence[str]) -> None:
    """Let each named module fill the folder of its name; all of them where none is named."""
    known = modules(package)
    unknown = [name for name in names if name not in known]
    if unknown:
        near = get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        sys.exit(f"{package}: nothing is called {unknown[0]}; {hint}")
    for name in names or known:
        folder = parent / name
        folder.mkdir(parents=True, exist_ok=True)
        import_module(f"{package}.{name.replace('-', '_')}").write(folder)


def modules(package: str) -> list[str]:
    """The names of a package's modules, as a user types them."""
    found = (module.name for module in iter_modules(import_module(package).__path__))
    return sorted(name.replace("_", "-") for name in found if not name.startswith("_"))
