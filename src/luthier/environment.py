"""What a run was made with and from: versions, device, commit, and the fingerprints of its data and base model."""

import hashlib
import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from luthier.data.places import locate
from luthier.data.splits import Splits
from luthier.data.spool import batches
from luthier.errors import ModelError
from luthier.recipe import Recipe

PACKAGES = ("luthier", "torch", "transformers", "datasets", "tokenizers", "safetensors")


def environment(recipe: Recipe, splits: Splits) -> dict[str, Any]:
    """All of it, as environment.json holds it."""
    device = recipe.training.device
    packages = PACKAGES if recipe.model.quantize == "none" else (*PACKAGES, "bitsandbytes")
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "device": {
            "kind": device,
            "name": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
            "threads": torch.get_num_threads(),
        },
        "git_commit": _git_commit(),
        "data_sha256": {name: _hash_rows(rows) for name, rows in splits.named().items()},
        "model_sha256": _hash_weights(recipe.model.name),
    }


def _git_commit() -> str | None:
    """The commit of the folder the run was started in."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _hash_rows(rows: Dataset) -> str:
    digest = hashlib.sha256()
    names = sorted(rows.column_names)
    for piece in batches(rows, names):
        for values in zip(*(piece[name] for name in names), strict=True):
            row = dict(zip(names, values, strict=True))
            digest.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _hash_weights(name: str) -> dict[str, str] | None:
    """Of each weights file; None for a hub id, whose commit the hub keeps."""
    path = locate(name, where="model.name", error=ModelError)
    if path is None:
        return None
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    return {file.name: _hash_file(file) for file in files}


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
