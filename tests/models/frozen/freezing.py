"""What tests of the frozen part share: a task's rows with keys, a model of which little learns, and its gradient."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from luthier.methods.partial import Partial
from luthier.models.frozen import cache as frozen
from luthier.models.frozen.cache import FrozenCache
from luthier.models.frozen.rows import row_keys
from luthier.models.frozen.store import Memory
from luthier.models.frozen.trial import tried
from luthier.models.resting import resting
from luthier.tasks import Batch, Task
from tests.contracts.examples._example import Example
from tests.tiny import classification, model_for, rows, tokenizer

PLENTY = 2**40
TASK = classification()

Result = tuple[Tensor, dict[str, Tensor]]
"""The loss of each row, and the gradient of whatever learns."""


def keyed(task: Task, prepared: Any, numbers: Sequence[int], processor: Any) -> Batch:
    """A batch of prepared rows whose states are to be kept."""
    columns = prepared[list(numbers)]
    return replace(task.collate(columns, processor), keys=row_keys(columns))


def texts(numbers: Sequence[int], side: str = "right") -> Batch:
    """Some of ten texts, to be classified."""
    return keyed(TASK, TASK.prepare(rows(10), tokenizer(side)), numbers, tokenizer(side))


def learning(family: str, *parts: str, dtype: torch.dtype = torch.float32, **settings: Any) -> PreTrainedModel:
    """A classifier of which these parts learn; of ALBERT, whose blocks share weights, the second group."""
    if family == "albert":
        settings["num_hidden_groups"] = 2
        parts = tuple(part if part == "head" else "re:layer_groups.1" for part in parts)
    return made_to_learn(model_for(TASK, family, **settings), *parts).to(dtype)


def made_to_learn(model: PreTrainedModel, *parts: str) -> PreTrainedModel:
    """A model in training mode of which these parts learn; its random weights are wide, so that blocks matter."""
    random = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.2, generator=random)
    Partial(train=parts).apply(model, generator=random)
    return model.train()


def cache_of(
    model: PreTrainedModel,
    pair: Batch,
    alone: Batch,
    *,
    task: Task = TASK,
    dtype: torch.dtype | None = None,
    budget_bytes: int = PLENTY,
) -> FrozenCache:
    """An empty cache that serves a model."""

    def loss(batch: Batch) -> Tensor:
        with frozen.around(model, batch) as here:
            return task.loss(model, here).total.sum()

    cache = tried(model, loss, pair, alone, dtype)
    cache.store = Memory(budget_bytes)
    cache.open()
    return cache


def cache_for(model: PreTrainedModel, **how: Any) -> FrozenCache:
    """The same, of a classifier."""
    return cache_of(model, texts([4, 5]), texts([4]), **how)


def example_cache(model: PreTrainedModel, example: Example, side: str = "right") -> FrozenCache:
    """The same, of a model of any task."""
    pair, alone = (example_batch(example, numbers, side) for numbers in ([1, 2], [1]))
    return cache_of(model, pair, alone, task=example.task)


def example_batch(example: Example, numbers: Sequence[int], side: str = "right") -> Batch:
    processor = example.processor(side)
    return keyed(example.task, example.task.prepare(example.rows, processor), numbers, processor)


def result(model: PreTrainedModel, batch: Batch, task: Task = TASK) -> Result:
    """Loss and gradient of a batch, under a seed."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    with frozen.around(model, batch) as here:
        total = task.loss(model, here).total
    total.sum().backward()
    return total.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def uncached(model: PreTrainedModel, batch: Batch, cache: FrozenCache, task: Task = TASK) -> Result:
    """The same where everything is computed, the frozen part in eval mode."""
    with resting(cache.part.resting):
        return result(model, replace(batch, keys=None), task)


def assert_same(found: Result, expected: Result, *, rtol: float = 0.0) -> None:
    torch.testing.assert_close(found[0], expected[0], rtol=rtol, atol=rtol)
    assert found[1].keys() == expected[1].keys() != set()
    flat = [torch.cat([gradients[name].flatten() for name in expected[1]]) for gradients in (found[1], expected[1])]
    assert (flat[0] - flat[1]).norm() <= rtol * flat[1].norm()
