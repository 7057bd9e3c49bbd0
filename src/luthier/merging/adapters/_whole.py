"""Which modules an adapter keeps whole, under names by which PEFT finds them and no others.

PEFT takes every module whose name has such an end, dot or not: `embeddings` would be `embeddings.word_embeddings` too.
"""

from collections.abc import Collection, Iterator, Sequence, Set
from typing import Any, Literal

from transformers import PreTrainedModel

from luthier.errors import MergeError
from luthier.merging.adapters._pair import Pair
from luthier.methods import _peft
from luthier.models.heads import head_to_learn

Whole = Literal["none", "head", "changed"] | Sequence[str]
"""What is kept as in the tuned model: nothing, the head of a task, all that differs and is no update, or modules."""


def whole_modules(pair: Pair, asked: Whole) -> list[str]:
    """The modules that are kept whole, the outermost of them.

    Raises MergeError where one that was asked for is not there.
    """
    model = pair.model
    if asked == "none":
        names = set[str]()
    elif asked == "head":
        names = _head(model)
    elif asked == "changed":
        owners = (_keepable(pair, each) for name in pair.changed for each in pair.aliases[name])
        names = {owner for owner in owners if owner is not None} | _head(model)
    else:
        names = {name for said in asked for name in _called(pair, said)}
    model.requires_grad_(False)
    for name in names:
        model.get_submodule(name).requires_grad_(True)
    outermost = _peft.learnt_whole(model)
    inside = tuple(f"{name}." for name in outermost)
    updated = {each for each in pair.linear if not f"{each}.".startswith(inside) and f"{each}.weight" in pair.changed}
    return sorted({found for name in outermost for found in _plain(model, name, updated)})


def settings_of(pair: Pair, whole: Collection[str]) -> dict[str, Any]:
    """PEFT's; it looks for the head of a task that is said, so none is said where the head is left out."""
    task = _peft.task_type(pair.model)
    ends, inside = _peft.CLASSIFIERS.get(task or "", ()), tuple(f"{name}." for name in whole)
    heads = [name for name, _ in pair.model.named_modules() if name.split(".")[-1] in ends]
    return {
        "task_type": task if all(f"{head}.".startswith(inside) for head in heads) else None,
        "modules_to_save": sorted(whole) or None,
        "fan_in_fan_out": bool(pair.flipped),
    }


def _head(model: PreTrainedModel) -> set[str]:
    return {name.rpartition(".")[0] for name in head_to_learn(model, where="extract")} - {""}


def _keepable(pair: Pair, name: str) -> str | None:
    """The module that holds a tensor which is no part of an update, where none of its own parts has an update."""
    owner = name.rpartition(".")[0]
    has_update = any(f"{layer}.".startswith(f"{owner}.") for layer in pair.linear if f"{layer}.weight" in pair.changed)
    return None if not owner or has_update else owner


def _called(pair: Pair, said: str) -> list[str]:
    found = [name for name, _ in pair.model.named_modules() if f".{name}".endswith(f".{said}")]
    if not found:
        raise MergeError(f"modules_to_save: no module of {pair.tuned.label} is called {said}")
    return found


def _plain(model: PreTrainedModel, module: str, updated: Set[str]) -> Iterator[str]:
    """A module, or its parts where PEFT would take others for it; with those others where it has no parts, unless they
    have updates: then it cannot be kept."""
    taken = [name for name, _ in model.named_modules() if name.endswith(module)]
    parts = [
        name for name, part in model.get_submodule(module).named_children() if any(True for _ in part.parameters())
    ]
    if len(taken) == 1:
        yield module
    elif parts:
        for part in parts:
            yield from _plain(model, f"{module}.{part}", updated)
    elif updated.isdisjoint(taken):
        yield from taken
