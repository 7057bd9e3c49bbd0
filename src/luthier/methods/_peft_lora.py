"""A LoRA's names in PEFT's folder, and its settings there; layers are named in full."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from luthier.errors import MethodError
from luthier.methods import _peft
from luthier.methods._low_rank import Update
from luthier.methods._new_rows import NewRows
from luthier.methods._parts import parts_of
from luthier.models.words import learnt_words

BIASES = {"none": "none", "all": "all", "targets": "lora_only"}
"""Our word for the biases that learn, and PEFT's."""
UNREAD = (
    *("layers_to_transform", "exclude_modules", "target_parameters", "lora_bias", "layer_replication"),
    *("alora_invocation_tokens", "use_qalora", "ensure_weight_tying"),
    *("use_bdlora", "arrow_config", "kasa_config", "monteclora_config", "velora_config"),
)
"""Settings of PEFT that change the result and that Luthier does not read."""
HARMLESS_STARTS = (True, False, "gaussian", "eva", "orthogonal")
"""Values of init_lora_weights that leave the base as it is; olora and others change its weights."""
PISSA = "pissa"
"""The one that changes the base in a way that can be found again; where it was not converted when it was saved."""
TOKENS = "added_tokens.json"
"""Beside the adapter: the words whose rows learn, with their numbers, as tokenizers write those added to them."""


@dataclass(frozen=True)
class Usual:
    """What most updates have in common: the others are named one by one."""

    rank: int
    alpha: float
    rank_stabilized: bool
    doubled: bool
    """Whether they have a start of their own, and so twice the rank when they are written as plain factors."""

    def settings(self, updates: dict[str, Update]) -> dict[str, Any]:
        """PEFT's settings of all ranks and scales."""
        rank = 2 * self.rank if self.doubled else self.rank
        alpha = self.alpha * self._by(rank) / self._by(self.rank)
        ranks = {name: len(update.factors()[0]) for name, update in updates.items()}
        alphas = {name: update.scale * self._by(ranks[name]) for name, update in updates.items()}
        return {
            "r": rank,
            "lora_alpha": alpha,
            "use_rslora": self.rank_stabilized,
            "rank_pattern": {name: r for name, r in ranks.items() if r != rank},
            "alpha_pattern": {name: a for name, a in alphas.items() if not math.isclose(a, alpha)},
        }

    def _by(self, rank: int) -> float:
        return math.sqrt(rank) if self.rank_stabilized else float(rank)


@torch.no_grad()
def save(model: PreTrainedModel, folder: Path, usual: Usual, said: dict[str, Any]) -> None:
    """Write every trainable parameter; a start of its own is made a part of its update's factors."""
    layers = {name: module for name, module in model.named_modules() if hasattr(module, Update.held_as)}
    updates: dict[str, Update] = {name: getattr(layer, Update.held_as) for name, layer in layers.items()}
    words, rows = learnt_words(model), _rows(model)
    config = {
        "peft_type": "LORA",
        "target_modules": list(layers),
        "modules_to_save": _peft.learnt_whole(model) or None,
        "fan_in_fan_out": any(isinstance(layer, Conv1D) for layer in layers.values()),
        "trainable_token_indices": {names[0]: list(words.values()) for names in rows.values()} or None,
        **usual.settings(updates),
        **said,
    }
    tensors = _own_tensors(model) | {f"{_delta(names[0])}": part.rows for part, names in rows.items()}
    for name, update in updates.items():
        tensors |= _factors(name, layers[name], *update.factors()) | _magnitude(name, update)
    _peft.write(model, folder, config, tensors)
    if words:
        (folder / TOKENS).write_text(json.dumps(words, indent=2, ensure_ascii=False) + "\n")


@torch.no_grad()
def load(model: PreTrainedModel, folder: Path) -> None:
    """Read the weights into a model whose layers have their updates.

    Raises MethodError where the file holds other parameters than the model expects.
    """
    config = _peft.read_config(folder, "LORA", UNREAD)
    _require_words(config, model, folder)
    keeps_start = config.get("init_lora_weights") == PISSA
    places, copies = _own_tensors(model), dict[str, Tensor]()
    places |= {_delta(name): part.rows for part, names in _rows(model).items() for name in names}
    begun: list[tuple[Update, Tensor, Tensor]] = []
    for name, module in list(model.named_modules()):
        update = getattr(module, Update.held_as, None)
        if isinstance(update, Update):
            A, B = (update.A, update.B) if keeps_start else update.factors()
            places |= _factors(name, module, A, B) | _magnitude(name, update)
            if isinstance(module, nn.Embedding):  # of a table that is a target PEFT writes the base's own rows too
                copies[f"{_peft.PREFIX}{name}.base_layer.weight"] = module.weight
            if A is not update.A:
                begun.append((update, A, B))
    _peft.read_into(places, folder, copies)
    for update, A, B in begun:
        rank = len(update.A)
        update.A.copy_(A[:rank])
        update.B.copy_(B[:, :rank])
        update.A0, update.B0 = A[rank:].clone(), -B[:, rank:]


def read_settings(folder: Path) -> dict[str, Any]:
    """LoRA settings, under our names, of a folder that PEFT wrote.

    Raises MethodError where it is no LoRA, or uses a setting that Luthier does not read.
    """
    config = _peft.read_config(folder, "LORA", UNREAD)
    start = config.get("init_lora_weights", True)
    if start not in (*HARMLESS_STARTS, PISSA):
        raise MethodError(f"{folder / _peft.CONFIG}: init_lora_weights {start} cannot be read; a plain LORA can")
    return {
        "rank": config["r"],
        "alpha": float(config["lora_alpha"]),
        "dropout": float(config.get("lora_dropout", 0.0)),
        "targets": _peft.targets(config["target_modules"]),
        # With PEFT the first pattern that matches a layer counts, here the last selector.
        "ranks": {_peft.selector(key): rank for key, rank in _reversed(config.get("rank_pattern"))},
        "alphas": {_peft.selector(key): float(alpha) for key, alpha in _reversed(config.get("alpha_pattern"))},
        "bias": {theirs: ours for ours, theirs in BIASES.items()}[config.get("bias", "none")],
        "rank_stabilized": bool(config.get("use_rslora")),
        "dora": bool(config.get("use_dora")),
        "start": PISSA if start == PISSA else "zero",
        "also_train": _peft.also_trained(config),
        "add_tokens": tuple(_words(config, folder)),
    }


def _own_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """The base's own parameters that learn; a tied one under each of its names."""
    found: dict[str, Tensor] = {}
    for owner, module in model.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and not _is_part_of(owner):
                inside = "base_layer." if hasattr(module, Update.held_as) else ""
                found[f"{_peft.PREFIX}{owner}.{inside}{leaf}"] = parameter
    return found


def _is_part_of(owner: str) -> bool:
    return not {Update.held_as, NewRows.held_as}.isdisjoint(owner.split("."))


def _rows(model: PreTrainedModel) -> dict[NewRows, list[str]]:
    """The rows of new words, and the names of the layers that have them."""
    parts = dict.fromkeys(part for _, part in parts_of(model, NewRows))
    named = list(model.named_modules(remove_duplicate=False))
    return {part: [n for n, m in named if getattr(m, NewRows.held_as, None) is part] for part in parts}


def _delta(name: str) -> str:
    return f"{_peft.PREFIX}{name}.token_adapter.trainable_tokens_delta"


def _factors(name: str, layer: nn.Module, A: Tensor, B: Tensor) -> dict[str, Tensor]:
    before, after = ("lora_embedding_", "") if isinstance(layer, nn.Embedding) else ("lora_", ".weight")
    return {f"{_peft.PREFIX}{name}.{before}{factor}{after}": tensor for factor, tensor in (("A", A), ("B", B))}


def _magnitude(name: str, update: Update) -> dict[str, Tensor]:
    if update.magnitude is None:
        return {}
    return {f"{_peft.PREFIX}{name}.lora_magnitude_vector": update.magnitude.m}


def _reversed(pattern: dict[str, Any] | None) -> Iterator[tuple[str, Any]]:
    return reversed((pattern or {}).items())


def _numbers(config: dict[str, Any], folder: Path) -> list[int]:
    """The numbers of the words whose rows learn."""
    said = config.get("trainable_token_indices") or []
    lists = list(said.values()) if isinstance(said, dict) else [said]
    if any(numbers != lists[0] for numbers in lists):
        raise MethodError(f"{folder / _peft.CONFIG}: trainable_token_indices differ from layer to layer; not read")
    return lists[0]


def _words(config: dict[str, Any], folder: Path) -> list[str]:
    """The words whose rows learn, by the tokenizer's file beside the adapter."""
    numbers = _numbers(config, folder)
    known: dict[int, str] = {}
    if numbers and (folder / "tokenizer.json").is_file():
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        vocabulary = tokenizer.get("model", {}).get("vocab", {})
        known = {n: word for word, n in vocabulary.items()} if isinstance(vocabulary, dict) else {}
        known |= {each["id"]: each["content"] for each in tokenizer.get("added_tokens", [])}
    if numbers and (folder / TOKENS).is_file():
        known |= {n: word for word, n in json.loads((folder / TOKENS).read_text()).items()}
    if lost := [number for number in numbers if number not in known]:
        raise MethodError(
            f"{folder / _peft.CONFIG}: trainable_token_indices has {lost[0]}, and no {TOKENS} or tokenizer.json in the "
            "folder says which word that is; put the tokenizer's files there"
        )
    return [known[number] for number in numbers]


def _require_words(config: dict[str, Any], model: PreTrainedModel, folder: Path) -> None:
    there, here = _numbers(config, folder), list(learnt_words(model).values())
    if _rows(model) and there != here:
        raise MethodError(f"{folder}: has the rows of words {there}, but this model's new words are {here}")
