"""Tries a model before its frozen states are kept: what is replayed must be what was computed, whatever the family."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from luthier.models.frozen.cache import FrozenCache
from luthier.models.frozen.points import NotServed, find
from luthier.models.frozen.rows import Batch
from luthier.models.frozen.store import Memory, States
from luthier.models.packed import TOLERANCE
from luthier.models.resting import resting

NO_BOUND = 2**62

B = TypeVar("B", bound=Batch)


def tried(
    model: PreTrainedModel, loss: Callable[[B], Tensor], pair: B, alone: B, dtype: torch.dtype | None
) -> FrozenCache:
    """The cache of a model's frozen part, tried with two rows, and with the first of them alone; its store holds the
    states of the two.

    `loss` computes a batch within `cache.around`, `dtype` is that in which states are kept. Raises NotServed where
    there is no frozen part, where a replay changes the loss, or where a row's states depend on the row beside it.
    """
    if getattr(model.config, "feat_extract_norm", None) == "group":
        raise NotServed("its group norm over time lets padding change what is computed for a row")
    with resting(model.modules()):
        cache = FrozenCache(model, find(model, lambda: loss(pair)), Memory(NO_BOUND), dtype)
        cache.open()
        try:
            with torch.no_grad():
                _require_the_same_again(cache, loss, pair)
                _require_rows_apart(cache, loss, pair, alone)
        finally:
            cache.close()
    cache.num_rows = cache.num_replayed = 0
    return cache


def _require_the_same_again(cache: FrozenCache, loss: Callable[[B], Tensor], pair: B) -> None:
    computed = loss(pair)
    if not cache.holds(pair):
        raise NotServed("what the model is given, or what it computes, is not laid out by rows, or is drawn anew")
    replayed = loss(pair)
    if not torch.allclose(replayed, computed, rtol=_tolerance(cache), atol=1e-6):
        raise NotServed("what learns needs more of the frozen part than its states of a row's own tokens")


def _require_rows_apart(cache: FrozenCache, loss: Callable[[B], Tensor], pair: B, alone: B) -> None:
    assert alone.keys is not None and pair.keys is not None, "rows that are tried have keys"
    together, cache.store = cache.store, Memory(NO_BOUND)
    loss(alone)
    found = cache.store[alone.keys[0]] if cache.holds(alone) else ()
    cache.store.close()
    cache.store = together
    if not _agree(found, together[pair.keys[0]], _tolerance(cache)):
        raise NotServed("what is computed for a row depends on the rows beside it")


def _agree(found: States, expected: States, tolerance: float) -> bool:
    if len(found) != len(expected):
        return False
    for one, other in zip(found, expected, strict=True):
        length = min(len(one), len(other))  # rows that are kept whole keep their padding
        one, other = one[:length].float(), other[:length].float()
        if (one - other).norm() > tolerance * other.norm():
            return False
    return True


def _tolerance(cache: FrozenCache) -> float:
    return max(TOLERANCE.get(dtype, TOLERANCE[torch.float32]) for dtype in cache.dtypes)
