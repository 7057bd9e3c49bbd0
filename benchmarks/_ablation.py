"""What makes Luthier fast, left out piece by piece: within each context one ingredient is what it is elsewhere.

These reach behind the settings, as nobody would want to leave such a thing out of a run.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from transformers import PreTrainedModel

from luthier.data import batching
from luthier.models import attention, heap, vocabulary
from luthier.training import loop


@contextmanager
def _autocast(model: PreTrainedModel, precision: str) -> Iterator[Any]:
    """torch's own bf16: weights stay in fp32 and are cast in every layer."""
    yield lambda: torch.autocast(model.device.type, dtype=torch.bfloat16)


LEFT_OUT: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "each row's attention by itself": lambda: mock.patch.object(attention, "LIKE", 0.0),
    "rows padded, SDPA, autocast": lambda: mock.patch.object(loop, "computing", _autocast),
    "logits in one piece": lambda: mock.patch.object(vocabulary, "CPU_CHUNK_BYTES", 2**40),
    "norms operation by operation": lambda: mock.patch.object(loop, "fused", nullcontext),
    "freed memory given back at once": lambda: mock.patch.object(heap, "keep", return_value=None),
    "batches of rows of any length": lambda: mock.patch.object(batching, "WINDOW_BATCHES", 1),
}
"""By what is there instead."""
SETTINGS: dict[str, dict[str, Any]] = {
    "rows padded, eager attention": {"model": {"attention": "eager"}},
    "rows padded, SDPA": {"model": {"attention": "sdpa"}},
    "rows padded, SDPA, autocast": {"model": {"attention": "sdpa"}},
    "frozen weights held in fp32": {"model": {"dtype": "float32"}},
    "fp32": {"precision": "fp32", "model": {"dtype": "float32"}},
    "each batch in one piece": {"micro_batch_tokens": None},
}
"""Those that are settings."""


def without(name: str | None) -> AbstractContextManager[Any]:
    """Within it an ingredient is left out, if one is to be."""
    return LEFT_OUT[name]() if name in LEFT_OUT else nullcontext()
