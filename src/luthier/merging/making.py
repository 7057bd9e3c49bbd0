"""One merge from its recipe to a checked folder: plan, weights, the files beside them, the check."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from luthier import files, recipe_yaml
from luthier.errors import MergeError
from luthier.merging.beside.card import merge_card, shown
from luthier.merging.beside.configuring import merged_config
from luthier.merging.beside.write import write_beside
from luthier.merging.checking import check
from luthier.merging.engine import Record, elements_of_a_part, run
from luthier.merging.parents.opened import Opened, open_models
from luthier.merging.plan import Plan, Planner
from luthier.merging.recipes.recipe import MergeRecipe, as_yaml
from luthier.merging.shards import Shards

ABOUT = "merge.json"
"""Beside the weights: what they were merged of, and the SHA-256 of each tensor."""
RECIPE = "merge.yaml"
REST = "rest"
"""Holds all but the weights until these are whole."""
READ = (".safetensors", ".json", ".model", ".txt")
"""Ends of the names of files that a merge reads."""


@dataclass(frozen=True)
class How:
    """What a merge may take, and what becomes of what is there; nothing of it changes the result."""

    memory: int = 2**30
    """Bytes for the parts of tensors in hand, of all threads together."""
    num_threads: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shard_bytes: int = 5 * 10**9
    """Most bytes of a weights file."""
    overwrite: bool = False
    is_checked: bool = True
    """Load what was written, compare every tensor with what was merged, and run it once."""


def prepare(recipe: MergeRecipe) -> tuple[Plan, dict[str, Opened]]:
    """The plan of a merge, and its models; nothing is written. Raises MergeError."""
    models = open_models(recipe.models)
    return Planner(recipe, models).plan(), models


def make(recipe: MergeRecipe, output: Path, how: How) -> Iterator[Record]:
    """Merge into a folder that appears whole or not at all; one that was killed goes on where it was.

    Yields a record of the plan, one of each tensor, one of the finished folder, and one of its check.
    Raises MergeError, and OSError where the disk has no room.
    """
    plan, models = prepare(recipe)
    target = output.resolve()

    def require_free() -> None:
        _require_free(target, recipe, models, overwrite=how.overwrite)

    require_free()
    yield {"event": "planned", **facts(plan, how)}
    target.parent.mkdir(parents=True, exist_ok=True)
    checked = None
    with files.growing_folder(target, require_free=require_free) as beside:
        specs = {each.name: each.spec for each in plan.outputs}
        shards = Shards(beside, specs, shard_bytes=how.shard_bytes, plan=_fingerprint(recipe, models))
        try:
            # What fails here, fails before hours of work.
            notes = _write_rest(beside, target.name, recipe, plan, models)
            yield {"event": "begins", "done": sum(specs[name].bytes for name in shards.hashes)}
            yield from run(list(plan.outputs), shards, memory=how.memory, num_threads=how.num_threads)
        finally:
            shards.close()
        shards.finish()
        _put_together(beside, recipe, shards.hashes)
        if how.is_checked:
            checked = check(beside, shards.hashes, name=str(output), known=plan.alike.known)
    yield {"event": "merged", "folder": str(output), "tensors": len(shards.hashes), "notes": notes}
    if checked is not None:
        yield {"event": "checked", **checked}


def facts(plan: Plan, how: How) -> Mapping[str, Any]:
    """What a merge reads, writes, and holds in memory at most, in bytes."""
    widest = max(len(each.models) + (each.base is not None) for each in plan.outputs)
    most = elements_of_a_part(how.memory, num_threads=how.num_threads, num_tensors=widest)
    elements = min(most, max(each.spec.num_elements for each in plan.outputs))
    return {
        "tensors": len(plan.outputs),
        "merged": sum(each.method is not None for each in plan.outputs),
        "read": plan.bytes_read,
        "bytes": plan.bytes_written,
        "peak": how.num_threads * elements * (12 * widest + 24),
        "notes": list(plan.notes),
    }


def _require_free(output: Path, recipe: MergeRecipe, models: Mapping[str, Opened], *, overwrite: bool) -> None:
    """Nothing is lost by a merge: neither what it is made of, nor what is no merge of ours."""
    sources = {name: opened.folders for name, opened in models.items()}
    sources |= {name: (Path(name),) for name in recipe.statistics}
    for name, folders in sources.items():
        for folder in folders:
            if output in (folder.resolve(), *folder.resolve().parents):
                raise MergeError(f"{output.name}: holds {name}, which is merged; choose another output")
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not output.is_dir() or not (output / ABOUT).is_file():
        raise MergeError(f"{output.name}: exists and is no merge of Luthier's; choose another output")
    if not overwrite:
        raise MergeError(f"{output.name}: exists; choose another output, or say --overwrite")


def _fingerprint(recipe: MergeRecipe, models: Mapping[str, Opened]) -> str:
    """Of all that decides the result: recipe, version, and the models' files as they are."""
    digest = hashlib.sha256(f"{version('luthier')}\0{as_yaml(recipe)}".encode())
    folders = [folder for opened in models.values() for folder in opened.folders]
    for folder in (*folders, *map(Path, recipe.statistics)):
        for path in sorted(path for ending in READ for path in folder.glob(f"*{ending}")):
            status = path.stat()
            digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _write_rest(folder: Path, name: str, recipe: MergeRecipe, plan: Plan, models: Mapping[str, Opened]) -> list[str]:
    """All that is not weights, in a folder of its own, so that no half of a model has a configuration; -> notes."""
    rest = folder / REST
    shutil.rmtree(rest, ignore_errors=True)
    rest.mkdir()
    vocabulary, notes = plan.alike.vocabulary, list(plan.notes)
    keeper = next((each for each in models.values() if vocabulary and each.checkpoint.label == vocabulary.source), None)
    config, told = merged_config(
        plan.reference.checkpoint.config,
        dtype=recipe.dtype,
        num_rows=vocabulary.size if vocabulary and vocabulary.changes_any else None,
        tied=plan.alike.ties.tied,
        stacked=plan.stacked or None,
        tokens_of=keeper.checkpoint.config if keeper is not None and keeper is not plan.reference else None,
    )
    text = as_yaml(replace(recipe, output=None))
    card = merge_card(
        name,
        kind=recipe.kind,
        models=[model for model in recipe.models if model != recipe.base],
        base=recipe.base,
        recipe=recipe_yaml.load(text, RECIPE),
        notes=notes + told,
    )
    folders = {each.checkpoint.label: each.path for each in models.values()}
    told += write_beside(
        rest,
        config=config,
        reference=plan.reference.path,
        folders=folders,
        vocabulary=vocabulary,
        chat_template=recipe.chat_template,
        card=card,
    )
    (rest / RECIPE).write_text(text, encoding="utf-8")
    return told


def _put_together(folder: Path, recipe: MergeRecipe, hashes: Mapping[str, str]) -> None:
    """The rest beside the weights, which are whole now."""
    for path in sorted((folder / REST).iterdir()):
        path.replace(folder / path.name)
    (folder / REST).rmdir()
    about = {"luthier": version("luthier"), "method": recipe.kind, "models": [shown(each) for each in recipe.models]}
    content = json.dumps({**about, "sha256": dict(hashes)}, indent=2, ensure_ascii=False)
    (folder / ABOUT).write_text(content + "\n", encoding="utf-8")
