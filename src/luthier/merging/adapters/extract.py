"""A LoRA from the difference of two models: the largest singular values of W' - W, layer by layer.

The models' configuration tells which tensors are linear layers; whatever else differs is kept whole, or told. Eckart
and Young 1936, https://doi.org/10.1007/BF02288367.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

import torch
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.adapters._pair import Pair
from luthier.merging.adapters._whole import Whole, settings_of, whole_modules
from luthier.merging.adapters.lora_files import Adapter, Factors, require_free, write_lora
from luthier.merging.adapters.reports import Layer, Report
from luthier.merging.adapters.truncate import Keep, Truncated, of_matrix
from luthier.merging.parents.checkpoint import Checkpoint

USUAL = Keep(rank=16)


@torch.no_grad()
def extract(
    tuned: Checkpoint,
    base: Checkpoint,
    into: Path,
    *,
    keep: Keep | None = None,
    modules_to_save: Whole = "head",
    overwrite: bool = False,
) -> Report:
    """Write the adapter that makes one model of the other, as far as its ranks reach: 16 where nothing is said.

    Raises MergeError where transformers does not know the model, or no linear layer differs.
    """
    require_free(into, overwrite=overwrite)
    pair = Pair(tuned, base)
    whole = whole_modules(pair, modules_to_save)
    cuts = dict(_updates(pair, whole, keep or USUAL))
    if not cuts:
        raise MergeError(f"{tuned.label}: no linear layer differs from {base.label}, so there is nothing to extract")
    biases = _biases(pair, cuts) if modules_to_save == "changed" else {}
    tensors = pair.held_by(whole) | biases
    settings = settings_of(pair, whole) | {
        "base_model_name_or_path": base.label,
        "bias": "lora_only" if biases else "none",
    }
    layers = {name: Factors(cut.A, cut.B) for name, cut in cuts.items()}
    write_lora(Adapter(into.name, layers, tensors, settings), into, overwrite=overwrite)
    changed = {pair.stored[name] for name in pair.changed} | pair.unplaced
    covered = {pair.stored[name] for name in (*tensors, *(f"{layer}.weight" for layer in layers))}
    return Report(
        into,
        f"{tuned.label} less {base.label}",
        tuple(Layer.of(name, cut) for name, cut in cuts.items()),
        num_whole=len(tensors),
        num_unchanged=len(tuned.specs.keys() - changed),
        left_out=tuple(sorted(changed - covered)),
    )


def _updates(pair: Pair, whole: Collection[str], keep: Keep) -> Iterator[tuple[str, Truncated]]:
    """Of each linear layer that differs and is not kept whole."""
    inside = tuple(f"{module}." for module in whole)
    for name in pair.linear:
        if not f"{name}.".startswith(inside) and f"{name}.weight" in pair.changed:
            difference = pair.difference(name)
            yield name, of_matrix(difference.T if name in pair.flipped else difference, keep=keep)


def _biases(pair: Pair, layers: Collection[str]) -> dict[str, Tensor]:
    """Those of the layers with updates, all where one has changed."""
    names = [f"{name}.bias" for name in layers if f"{name}.bias" in pair.stored]
    return {name: pair.tensor(name) for name in names} if pair.changed.intersection(names) else {}
