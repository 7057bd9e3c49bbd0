"""One merge from its recipe to a checked folder: plan, weights, the files beside them, the check."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    _require_free(output, models, overwrite=how.overwrite)
    yield {"event": "planned", **facts(plan, how)}
    output.parent.mkdir(parents=True, exist_ok=True)
    with files.growing_folder(output) as beside:
        specs = {each.name: each.spec for each in plan.outputs}
        shards = Shards(beside, specs, shard_bytes=how.shard_bytes, plan=_fingerprint(recipe, models))
        try:
            yield {"event": "begins", "done": sum(specs[name].bytes for name in shards.hashes)}
            yield from run(list(plan.outputs), shards, memory=how.memory, num_threads=how.num_threads)
        finally:
            shards.close()
        notes = _write_beside(beside, recipe, plan, models, shards.hashes)
        shards.finish()
    yield {"event": "merged", "folder": str(output), "tensors": len(shards.hashes), "notes": notes}
    if how.is_checked:
        yield {"event": "checked", **check(output, shards.hashes)}


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


def _require_free(output: Path, models: Mapping[str, Opened], *, overwrite: bool) -> None:
    """Nothing is lost by a merge: neither one of its models, nor what is no merge of ours."""
    for name, opened in models.items():
        if output.resolve() in (opened.path.resolve(), *opened.path.resolve().parents):
            raise MergeError(f"{output}: holds {name}, which is merged; choose another output")
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not output.is_dir() or not (output / ABOUT).is_file():
        raise MergeError(f"{output}: exists and is no merge of Luthier's; choose another output")
    if not overwrite:
        raise MergeError(f"{output}: exists; choose another output, or say --overwrite")


def _fingerprint(recipe: MergeRecipe, models: Mapping[str, Opened]) -> str:
    """Of all that decides the result: recipe, version, and the models' weight files as they are."""
    digest = hashlib.sha256(f"{version('luthier')}\0{as_yaml(recipe)}".encode())
    folders = [folder for opened in models.values() for folder in opened.folders]
    gathered = {parent.statistics for each in recipe.slices for parent in each.parents} - {None}
    for folder in (*folders, *(Path(str(name)) for name in sorted(map(str, gathered)))):
        for path in sorted(folder.glob("*.safetensors")):
            status = path.stat()
            digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _write_beside(
    folder: Path, recipe: MergeRecipe, plan: Plan, models: Mapping[str, Opened], hashes: Mapping[str, str]
) -> list[str]:
    """All that is not weights; -> what a user should know of it."""
    vocabulary, notes = plan.alike.vocabulary, list(plan.notes)
    keeper = next((each for each in models.values() if vocabulary and each.checkpoint.label == vocabulary.source), None)
    config, told = merged_config(
        plan.reference.checkpoint.config,
        dtype=recipe.dtype,
        num_rows=vocabulary.size if vocabulary and vocabulary.changes_any else None,
        tied=plan.alike.ties.tied,
        stacked={prefix: plan.blocks_from for prefix in plan.num_blocks} if plan.blocks_from is not None else None,
        tokens_of=keeper.checkpoint.config if keeper is not None and keeper is not plan.reference else None,
    )
    text = as_yaml(recipe)
    card = merge_card(
        folder.name.removeprefix(files.GROWING),
        kind=recipe.kind,
        models=[model for model in recipe.models if model != recipe.base],
        base=recipe.base,
        recipe=recipe_yaml.load(text, "merge.yaml"),
        notes=notes + told,
    )
    told += write_beside(
        folder,
        config=config,
        reference=plan.reference.path,
        folders={each.checkpoint.label: each.path for each in models.values()},
        vocabulary=vocabulary,
        chat_template=recipe.chat_template,
        card=card,
    )
    (folder / RECIPE).write_text(text, encoding="utf-8")
    about = {"luthier": version("luthier"), "method": recipe.kind, "models": [shown(each) for each in recipe.models]}
    content = json.dumps({**about, "sha256": dict(hashes)}, indent=2, ensure_ascii=False)
    (folder / ABOUT).write_text(content + "\n", encoding="utf-8")
    return told
