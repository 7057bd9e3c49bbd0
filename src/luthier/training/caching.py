"""Whether a run keeps the states of its model's frozen part, and where: it must be possible, and it must pay."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.data.batching import Batching
from luthier.interrupt import Interrupted, Stop
from luthier.models.arithmetic import computing
from luthier.models.frozen import cache as frozen
from luthier.models.frozen.cache import FrozenCache
from luthier.models.frozen.key import Digests, name_of, place_of
from luthier.models.frozen.points import NotServed
from luthier.models.frozen.rows import row_keys
from luthier.models.frozen.store import Disk, Memory, Store, cache_folder
from luthier.models.frozen.trial import tried
from luthier.models.memory import available, in_halves
from luthier.models.processor import Processor
from luthier.tasks import Batch, Task
from luthier.training.settings import Training

GIB, MIB = 2**30, 2**20
ROWS_AT_ONCE, TOKENS_AT_ONCE = 64, 2048
"""Of rows whose states are computed for several runs; any size serves, if it is always the same."""
SHARE = 0.25
"""Of the memory or the disk that is free, what the states may take at most."""


@dataclass(frozen=True)
class Prepared:
    """A model, and the rows that it sees again and again."""

    model: PreTrainedModel
    processor: Processor
    task: Task
    train: Dataset
    seen_again: tuple[Dataset, ...]
    """Prepared rows that are computed more than once."""


def collated(task: Task, columns: Mapping[str, Any], processor: Processor, *, keyed: bool) -> Batch:
    """A batch of prepared rows, given as columns; with keys, where their states are to be kept."""
    batch = task.collate(columns, processor)
    return replace(batch, keys=row_keys(columns)) if keyed else batch


def kept(
    prepared: Prepared, settings: Training, shared: "Stores | None" = None, stop: Stop | None = None
) -> tuple[FrozenCache | None, dict[str, Any] | None]:
    """The cache of a run, which serves its model from now on, and what is to be told of it.

    There is nothing to tell where no cache is wanted, or no parameter is frozen. `shared` stores serve other runs too:
    all rows are computed at once, so that what they hold does not depend on who came first.
    """
    if settings.cache == "off" or all(parameter.requires_grad for parameter in prepared.model.parameters()):
        return None, None
    try:
        return _opened(prepared, settings, shared, stop or Stop())
    except NotServed as reason:
        return None, {"event": "cache", "notes": [f"frozen states are computed anew each time: {reason}"]}


def _opened(
    prepared: Prepared, settings: Training, shared: "Stores | None", stop: Stop
) -> tuple[FrozenCache, dict[str, Any]]:
    if not prepared.seen_again and settings.cache != "disk":
        raise NotServed("no row is seen twice")
    if len(prepared.train) < 2:
        raise NotServed("there is one row alone")
    cache, needed = _tried(prepared, settings)
    store, place = _store(cache, prepared, settings) if shared is None else shared.of(cache, needed, prepared, settings)
    if needed > store.budget_bytes and settings.cache == "auto":
        if shared is None:
            store.close()
        room = f"they take {_amount(needed)}, but may take {_amount(store.budget_bytes)}"
        raise NotServed(f"{room}; say training.cache_gib, or training.cache=disk")
    cache.store = store
    cache.open()
    if shared is not None:
        _compute_all(cache, prepared, settings, stop)
    note = (
        f"{cache.part.words} computed once for each row, in eval mode (no dropout there), "
        f"and kept {place}: about {_amount(needed)}"
    )
    return cache, {"event": "cache", "bytes": needed, "notes": [note]}


def _tried(prepared: Prepared, settings: Training) -> tuple[FrozenCache, int]:
    """The cache with what its trial kept, and the bytes that the states of all rows are expected to take."""
    task, rows, model = prepared.task, prepared.train, prepared.model
    lengths = np.asarray(rows["length"][:])
    order = np.argsort(lengths, kind="stable")
    numbers = order[[0, len(order) // 2]]  # a row beside a longer one

    def loss(batch: Batch) -> Tensor:
        return _loss(model, task, batch, settings)

    pair, alone = (collated(task, rows[part], prepared.processor, keyed=True) for part in (numbers, numbers[:1]))
    cache = tried(model, loss, pair, alone, torch.bfloat16 if settings.precision == "bf16" else None)
    per_token = cache.store.num_bytes / lengths[numbers].sum()
    return cache, int(per_token * sum(int(np.sum(each["length"][:])) for each in prepared.seen_again))


def _loss(model: PreTrainedModel, task: Task, batch: Batch, settings: Training) -> Tensor:
    with computing(model, settings.precision) as forward, frozen.around(model, batch) as here, forward():
        return task.loss(model, here).total.sum()


@torch.no_grad()
def record(model: PreTrainedModel, task: Task, batch: Batch, settings: Training) -> None:
    """Compute a batch for the sake of its frozen states alone."""
    _loss(model, task, batch, settings)


class Stores:
    """The states of several frozen parts in memory, for one run after the other; the oldest make room."""

    def __init__(self) -> None:
        self._parts: dict[str, Memory] = {}
        self._digests: Digests = {}

    def stand_on(self, base: nn.Module) -> None:
        """The tensors of a base stay as they are until it is named again, or another one is: they are digested once."""
        self._digests = {place_of(tensor): None for tensor in base.parameters() if not tensor.is_meta}

    def of(self, cache: FrozenCache, needed: int, prepared: Prepared, settings: Training) -> tuple[Store, str]:
        """The store of a cache's part, and that place in words."""
        name = name_of(prepared.model, cache.part, prepared.processor, settings.precision, self._digests)
        if name not in self._parts:
            free = available("cpu") or 0
            held = sum(store.num_bytes for store in self._parts.values())
            budget = _budget(settings, lambda: free + held)
            while self._parts and needed + sum(store.num_bytes for store in self._parts.values()) > budget:
                self._parts.pop(next(iter(self._parts))).close()
            self._parts[name] = Memory(budget)
        return self._parts[name], "in memory, for other trials too"


def _compute_all(cache: FrozenCache, prepared: Prepared, settings: Training, stop: Stop) -> None:
    """Compute the states of all rows that are not kept yet, always in the same batches: so a run that goes on in
    another process has them bit by bit. What was asked to stop stops between two batches."""

    def compute(rows: Dataset, numbers: Int[ndarray, " batch"]) -> list[None]:
        batch = collated(prepared.task, rows[numbers], prepared.processor, keyed=True)
        if not cache.holds(batch) and not cache.store.is_full:
            record(prepared.model, prepared.task, batch, settings)
        return [None] * len(numbers)

    for rows in prepared.seen_again:
        for numbers in Batching(rows["length"][:], ROWS_AT_ONCE, TOKENS_AT_ONCE).sorted():
            if stop.asked_by is not None:
                raise Interrupted(stop.asked_by, "stopped before the first step")
            in_halves(numbers, partial(compute, rows))


def summary(cache: FrozenCache) -> dict[str, Any]:
    """What is told of a cache at the end."""
    counts = {"rows": cache.num_rows, "replayed": cache.num_replayed, "bytes": cache.store.num_bytes}
    notes = [f"{cache.num_replayed:,} of {cache.num_rows:,} times a row's frozen states were there already"]
    if cache.store.is_full:
        notes.append("there was no room for the states of all rows; give them more with training.cache_gib")
    return {"event": "cache", **counts, "notes": notes}


def _store(cache: FrozenCache, prepared: Prepared, settings: Training) -> tuple[Store, str]:
    """Where the states go, and that place in words."""
    if settings.cache != "disk":
        return Memory(_budget(settings, lambda: available("cpu") or 0)), "in memory"
    name = name_of(prepared.model, cache.part, prepared.processor, settings.precision)
    folder = cache_folder() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Disk(folder, _budget(settings, lambda: shutil.disk_usage(folder).free)), f"in {folder}"
    except OSError as error:
        raise NotServed(f"{folder} cannot be written: {error.strerror or error}") from None


def _amount(num_bytes: int) -> str:
    return f"{num_bytes / MIB:,.1f} MiB" if num_bytes < GIB else f"{num_bytes / GIB:,.1f} GiB"


def _budget(settings: Training, free: Callable[[], int]) -> int:
    return int(SHARE * free() if settings.cache_gib == "auto" else settings.cache_gib * GIB)
