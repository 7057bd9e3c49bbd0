"""The one training loop: a generator that yields after every optimiser step.

Logging, progress bars, evaluation, early stopping and checkpoints are the caller's `for`. The gradient of a
step is that of (sum of losses) / (sum of counts) over all its micro-batches and rows, however they were cut. So a
step that runs out of memory is computed again in smaller micro-batches, and learns the same.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from luthier.errors import TrainingError
from luthier.methods import Method
from luthier.models import heap
from luthier.models.arithmetic import Forward, computing
from luthier.models.checkpointing import checkpointed
from luthier.models.dropout import fast_dropout
from luthier.models.flat import is_laid
from luthier.models.frozen import cache as frozen
from luthier.models.memory import give_back, ran_out
from luthier.models.norms import fused
from luthier.models.offloading import offloaded
from luthier.tasks import Batch, Task
from luthier.training import coupled
from luthier.training.fused import moving_in_backward
from luthier.training.portions import Portion
from luthier.training.settings import Training

LISTENED = 3
"""First steps in which every parameter must be reached by a gradient: LoRA's A gets none in the first, as B is zero."""
COUNTS = ("step", "num_rows", "num_tokens", "num_padding", "num_skipped", "num_parts", "has_enough")


@dataclass
class TrainState:
    """What changes during a run beside the model's own parameters."""

    optimizer: torch.optim.Optimizer
    num_steps: int
    """Length of the whole run; the schedule's horizon."""
    scaler: torch.amp.GradScaler
    """Loss scaling of fp16; idle in every other precision."""
    step: int = 0
    """Optimiser steps done."""
    num_rows: int = 0
    num_tokens: int = 0
    num_padding: int = 0
    """Rows, real tokens and padding tokens seen."""
    num_skipped: int = 0
    """Steps known not to have been taken, as their loss or gradient was no finite number."""
    epoch_ends: tuple[int, ...] = ()
    """The step at which each epoch ends, as far as is known."""
    silent: frozenset[Tensor] | None = None
    """Parameters that no gradient has reached in the first steps; None where that was not looked at."""
    has_enough: bool = False
    """Whether the loss is so low that nothing is left to be learnt."""
    num_parts: int = 1
    """Parts that each micro-batch is cut into, as memory ran out; twice as many each time."""

    @classmethod
    def start(
        cls,
        model: PreTrainedModel,
        method: Method,
        settings: Training,
        num_steps: int,
        epoch_ends: tuple[int, ...] = (),
    ) -> "TrainState":
        """The state before the first step."""
        optimizer = settings.optimizer.build(method.groups(model))
        scaler = torch.amp.GradScaler(settings.device, enabled=settings.precision == "fp16")
        return cls(optimizer, num_steps, scaler, epoch_ends=epoch_ends)

    @property
    def num_epochs(self) -> int:
        """Whole epochs done."""
        return bisect_right(self.epoch_ends, self.step)

    @contextmanager
    def late_groups_frozen(self) -> Iterator[None]:
        """Within it no gradient is computed for what starts in a later epoch."""
        late = [group for group in self.optimizer.param_groups if not _has_started(group, self)]
        frozen = [parameter for group in late for parameter in group["params"]]
        for parameter in frozen:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)

    def counts(self) -> dict[str, int]:
        """What a checkpoint keeps beside the optimiser and the scaler."""
        return {name: getattr(self, name) for name in COUNTS}

    def set_counts(self, counts: Mapping[str, int]) -> None:
        """Go on from a checkpoint."""
        for name in COUNTS:
            setattr(self, name, counts[name])


@dataclass(frozen=True, eq=False)
class Step:
    """One optimiser step, as it happened; tensors stay on the device until somebody reads them."""

    number: int
    """Counted from 1."""
    loss: Tensor
    """Mean loss of the step's rows before the update; a scalar."""
    grad_norm: Tensor
    """2-norm of the whole gradient before clipping; a scalar."""
    is_finite: Tensor
    """Whether loss and gradient are finite numbers; a scalar. If not, no parameter was moved."""
    learning_rate: float
    """Peak learning rate times the schedule's factor, before a group's own scale."""


def train(
    model: PreTrainedModel,
    task: Task,
    portions: Iterable[Portion],
    settings: Training,
    state: TrainState,
) -> Iterator[Step]:
    """Learn from each portion of the rows in turn, one optimiser step each, until the horizon.

    The model and the state are changed in place; between two steps both are whole and may be saved. Raises MemoryError
    where not even a single row fits.
    """
    assert settings.learning_rate != "auto", "settings must be resolved before training"
    heap.keep()
    again = None if settings.checkpointing == "auto" else settings.checkpointing  # which the guard of a run settles
    with checkpointed(model, again):
        for portion in portions:
            learning_rate = settings.learning_rate * settings.schedule.factor(state.step, state.num_steps)
            _set_learning_rate(state, learning_rate)
            model.train()
            with state.late_groups_frozen():
                micro_batches, (total, count, grad_norm) = _within_memory(model, task, portion, settings, state)
            is_finite = torch.isfinite(total) & (torch.isfinite(grad_norm) | state.scaler.is_enabled())
            if not settings.fused_backward:
                _listen(state)
                _move(state, is_finite)
                state.optimizer.zero_grad(set_to_none=True)
            state.step += 1
            state.num_rows += sum(batch.num_rows for batch in micro_batches)
            state.num_tokens += sum(batch.num_tokens for batch in micro_batches)
            state.num_padding += 0 if is_laid(model) else sum(batch.num_padding for batch in micro_batches)
            yield Step(state.step, total / count, grad_norm, is_finite, learning_rate)
            if state.step >= state.num_steps:
                return


Gradient = tuple[Tensor, Tensor, Tensor]
"""What is told of a gradient: the sum and the count of the losses that it is of, and its norm before clipping."""


def _within_memory(
    model: PreTrainedModel, task: Task, portion: Portion, settings: Training, state: TrainState
) -> tuple[Sequence[Batch], Gradient]:
    """The gradient of a step; where memory runs out, anew in micro-batches half as large, as all that follow."""
    while True:
        micro_batches = portion(state.num_parts)
        torch.manual_seed(_seed(settings.seed, state.step))  # dropout, the same whenever this step is done
        try:
            return micro_batches, _gradient(model, task, micro_batches, settings, state)
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            if settings.fused_backward or len(portion(2 * state.num_parts)) == len(micro_batches):
                raise MemoryError(str(error)) from error
        # Only here is the error gone, and with it what the step had computed.
        state.optimizer.zero_grad(set_to_none=True)
        give_back()
        state.num_parts *= 2


def _gradient(
    model: PreTrainedModel, task: Task, micro_batches: Sequence[Batch], settings: Training, state: TrainState
) -> Gradient:
    """Compute every parameter's gradient, or move it at once where that is asked for."""
    elsewhere = offloaded if settings.offload_activations else nullcontext
    rounded = fused if settings.precision == "bf16" else nullcontext  # where it is within rounding of the model's own
    with (
        computing(model, settings.precision) as forward,
        rounded(model),
        fast_dropout(settings.device),
        elsewhere(model),
    ):
        if settings.fused_backward:
            (batch,) = micro_batches
            return _move_in_backward(model, task, batch, forward, state)
        total, count = _backward(model, task, micro_batches, forward, state.scaler)
    count = _never_zero(count)
    return total, count, _divide_and_clip(count, settings.max_grad_norm, state)


def _backward(
    model: PreTrainedModel,
    task: Task,
    micro_batches: Sequence[Batch],
    forward: Forward,
    scaler: torch.amp.GradScaler,
) -> tuple[Tensor, Tensor]:
    """Add the gradient of the summed loss to every parameter; -> the sum and the count over all rows."""
    if task.couples_rows and len(micro_batches) > 1:
        return coupled.backward(model, task, micro_batches, forward, scaler)
    totals, counts = [], []
    for batch in micro_batches:
        total, count = _loss(model, task, batch, forward)
        scaler.scale(total).backward()
        totals.append(total.detach())
        counts.append(count)
    return torch.stack(totals).sum(), torch.stack(counts).sum()


def _move_in_backward(
    model: PreTrainedModel, task: Task, batch: Batch, forward: Forward, state: TrainState
) -> Gradient:
    """Move every parameter as its gradient arrives; one that is no finite number stays, all of them if the loss is."""
    total, count = _loss(model, task, batch, forward)
    count = _never_zero(count)
    is_sound = torch.isfinite(total)
    with moving_in_backward(state.optimizer, lambda is_finite: _move(state, is_finite & is_sound)) as norms:
        (total / count).backward()
    return total.detach(), count, torch.linalg.vector_norm(torch.stack(norms))


def _loss(model: PreTrainedModel, task: Task, batch: Batch, forward: Forward) -> tuple[Tensor, Tensor]:
    """A micro-batch's sum and count."""
    with frozen.around(model, batch) as here, forward():
        loss = task.loss(model, here)
    if not loss.total.requires_grad:
        raise TrainingError(coupled.NOTHING_LEARNS)
    return loss.total.sum(), loss.count.sum()


def _never_zero(count: Tensor) -> Tensor:
    """A batch in which nothing counts has a loss and a gradient of zero."""
    return count.masked_fill(count == 0, 1.0)


@torch.no_grad()
def _divide_and_clip(count: Tensor, max_norm: float | None, state: TrainState) -> Tensor:
    """Divide the gradient of the sum by the count, and shorten it to `max_norm`, in one multiplication."""
    state.scaler.unscale_(state.optimizer)
    parameters = (p for group in state.optimizer.param_groups for p in group["params"])
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients, foreach=True) / count
    shrink = torch.ones_like(norm) if max_norm is None else (max_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, shrink / count)
    return norm


def _listen(state: TrainState) -> None:
    """In the first steps, note which of the parameters that learn by now wait for a gradient still."""
    if state.step == 0:
        learning = [group["params"] for group in state.optimizer.param_groups if _has_started(group, state)]
        state.silent = frozenset(chain.from_iterable(learning))
    if state.silent and state.step < LISTENED:
        gradients = {p: p.grad for p in state.silent if p.grad is not None}
        norms = torch._foreach_norm(list(gradients.values())) if gradients else ()
        state.silent -= {p for p, norm in zip(gradients, norms, strict=True) if norm != 0}


def _move(state: TrainState, is_finite: Tensor) -> None:
    """The optimiser's step, unless the flag forbids it: left on the device, where a fused optimiser reads it."""
    if state.scaler.is_enabled():  # looks for infinities by itself, and lowers its scale where it finds them
        state.scaler.step(state.optimizer)
        state.scaler.update()
    elif getattr(state.optimizer, "_step_supports_amp_scaling", False):
        state.optimizer.found_inf = (~is_finite).float()  # type: ignore[attr-defined]
        state.optimizer.step()
    elif is_finite:
        state.optimizer.step()


def _seed(seed: int, step: int) -> int:
    """A seed of its own for every step of every run."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0])


def _has_started(group: Mapping[str, Any], state: TrainState) -> bool:
    started: bool = group["starts_at_epoch"] <= state.num_epochs
    return started


def _set_learning_rate(state: TrainState, learning_rate: float) -> None:
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate * group["learning_rate_scale"]
