"""Where a name leads: a path on disk, a file inside an installed package, or nowhere yet (a hub id)."""

import importlib.util
import re
from importlib.machinery import ModuleSpec
from pathlib import Path

from luthier.errors import DataError, LuthierError, did_you_mean

PACKAGE = "package:"
_ENDING = re.compile(r"\.[A-Za-z]\w*")
"""Of a file's name; not of a hub id such as org/model-0.5B."""


def locate(name: str, *, where: str, error: type[LuthierError]) -> Path | None:
    """The path a name stands for, or None where it can only be a hub id.

    Raises `error` where a package, a file inside it, or a path is not there.
    """
    if name.startswith(PACKAGE):
        return _inside_package(name, where, error)
    path = Path(name).expanduser()
    if path.exists():
        return path
    if _ENDING.fullmatch(path.suffix) or name.startswith((".", "/", "~")) or name.count("/") > 1:
        folder = path.parent
        beside = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        raise error(f"{where}: there is no {name}{did_you_mean(path.name, beside)}")
    return None


def folder_of(name: str, *, where: str) -> Path | None:
    """The folder that a source's rows lie in, which files that they name are looked for in; None for a hub id."""
    path = locate(name, where=where, error=DataError)
    return path if path is None or path.is_dir() else path.parent


def public_name(name: str) -> str:
    """A name as others may read it: a hub id or package name as it is, of a path only its last part."""
    if name.startswith(PACKAGE):
        return name
    path = Path(name).expanduser()
    is_path = path.exists() or name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1
    return path.resolve().name if is_path else name


def _spec(package: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(package) if package.isidentifier() else None
    except ValueError:  # __main__ has none
        return None


def _inside_package(name: str, where: str, error: type[LuthierError]) -> Path:
    """The package is found and never imported: some run code, print or load models when imported."""
    package, _, inside = name.removeprefix(PACKAGE).partition("/")
    spec = _spec(package)
    if spec is None or not spec.submodule_search_locations:
        imported_as = package.replace("-", "_")
        if imported_as != package and _spec(imported_as) is not None:
            raise error(f"{where}: no package {package} is installed here; did you mean {PACKAGE}{imported_as}?")
        raise error(f"{where}: no package {package} is installed here (pip install {package.replace('_', '-')})")
    root = Path(next(iter(spec.submodule_search_locations))).resolve()
    path = (root / inside).resolve()
    if not path.is_relative_to(root):
        raise error(f"{where}: {name} leads out of its package")
    if not path.exists():
        inside_it = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        raise error(f"{where}: package {package} has no {inside}{did_you_mean(path.name, inside_it)}")
    return path
