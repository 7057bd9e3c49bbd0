"""What this machine has for Luthier: versions, devices, room on the disk, and optional parts.

It works where something is broken: a part that cannot be imported is told, not raised. It reads no secret, and no
path in it leads to a home folder.
"""

import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from luthier.errors import redacted
from luthier.extras import bitsandbytes

CORE = ("torch", "transformers", "safetensors", "datasets", "pydantic", "typer", "rich", "jaxtyping")
CORE_AS_INSTALLED = {"ruamel.yaml": "ruamel.yaml", "scikit-learn": "sklearn"}
"""Packages whose import has another name."""
MISSING = "is not installed"
NOT_FOR_USERS = ("dev", "all")
"""Extras that hold tools of this project's own, or only other extras."""
OPTIONAL_IMPORTS = {
    "seqeval",
    "sacrebleu",
    "jiwer",
    "soundfile",
    "optuna",
    "bitsandbytes",
    "captum",
    "gguf",
    "ray",
    "cma",
}
"""Optional packages that can be imported without running a model."""
LITTLE_DISK_BYTES = 5 * 2**30
"""A base model of BERT's size with its optimiser state and three checkpoints."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what it is, what was found, and what to do where it is not as it should be."""

    part: str
    name: str
    found: str
    advice: str = ""


def examine(folder: Path = Path("runs")) -> Iterator[Finding]:
    """Everything, one by one; `folder` is where runs go."""
    yield from _versions()
    yield from _devices()
    yield from _disk(folder)
    yield from _extras()


def _versions() -> Iterator[Finding]:
    yield Finding("versions", "luthier", _version("luthier"))
    yield Finding("versions", "python", platform.python_version())
    for name, module in {**{name: name for name in CORE}, **CORE_AS_INSTALLED}.items():
        broken = _broken(module)
        advice = f"{broken}: pip install --force-reinstall {name}" if broken else ""
        yield Finding("versions", name, _version(name), advice)


def _devices() -> Iterator[Finding]:
    yield Finding("devices", "system", f"{platform.system()} {platform.machine()}")
    try:
        import torch

        from luthier.models.device import choose_device, choose_precision

        yield Finding("devices", "cpu", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")
        for number in range(torch.cuda.device_count()):
            seen = torch.cuda.get_device_properties(number)
            has_bf16 = (seen.major, seen.minor) >= (8, 0)
            memory = f"{seen.total_memory / 2**30:.0f} GiB, bf16: {'yes' if has_bf16 else 'emulated, slow'}"
            yield Finding("devices", f"cuda:{number}", f"{seen.name}, {memory}")
        if torch.backends.mps.is_available():
            yield Finding("devices", "mps", "Apple GPU")
        device = choose_device("auto")
        yield Finding("devices", "auto", f"device {device}, precision {choose_precision('auto', device)}")
    except Exception as error:  # a broken torch or driver is what this command is for
        yield Finding("devices", "torch", "does not work", _first_line(error))


def _disk(folder: Path) -> Iterator[Finding]:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    told = f"{free / 2**30:,.1f} GiB free"
    if not os.access(there, os.W_OK):
        yield Finding("disk", f"{folder}", told, "it cannot be written; choose another folder with output=FOLDER")
    else:
        advice = "a run may need more; choose another disk with output=FOLDER" if free < LITTLE_DISK_BYTES else ""
        yield Finding("disk", f"{folder}", told, advice)


def _extras() -> Iterator[Finding]:
    """Each optional part, by what the installed package itself says of it."""
    parts: dict[str, list[str]] = {}
    for requirement in _requirements():
        asked = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
        package = re.match(r"[A-Za-z0-9._-]+", requirement)
        if asked and package and asked[1] not in NOT_FOR_USERS:
            parts.setdefault(asked[1], []).append(package[0])
    for extra, packages in parts.items():
        missing = [name for name in packages if _version(name) == MISSING]
        broken = next((told for name in packages if name not in missing and (told := _broken_package(name))), "")
        found = f"lacks {', '.join(missing)}" if missing else "is broken" if broken else "is installed"
        command = f"pip install 'luthier[{extra}]'"
        yield Finding("optional parts", extra, found, broken or command if missing or broken else "")


def _requirements() -> list[str]:
    try:
        return requires("luthier") or []
    except PackageNotFoundError:
        return []


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return MISSING


def _broken_package(name: str) -> str:
    """A distribution's first module, imported: '' where that works, or where it cannot be told."""
    module = name.replace("-", "_")
    return _broken(module) if module in OPTIONAL_IMPORTS else ""


def _broken(module: str) -> str:
    """Why a module cannot be imported; '' where it can."""
    try:
        bitsandbytes("doctor") if module == "bitsandbytes" else import_module(module)
    except Exception as error:
        return _first_line(error)
    return ""


def _first_line(error: Exception) -> str:
    """An error's first line without a secret or the way to a home folder."""
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return redacted(line.replace(str(Path.home()), "~"))
