"""The one training loop: a generator that yields after every optimiser step.

Logging, progress bars, evaluation, early stopping and checkpoints are the caller's `for`. The gradient of a
step is that of (sum of losses) / (sum of counts) over all its micro-batches and rows, however they were cut.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from luthier.methods import Method
from luthier.models.device import arithmetic
from luthier.models.dropout import fast_dropout
from luthier.tasks import Batch, Task
from luthier.training.settings import Training

COUNTS = ("step", "num_rows", "num_tokens", "num_padding", "num_skipped")


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

    @classmethod
    def start(cls, model: PreTrainedModel, method: Method, settings: Training, num_steps: int) -> "TrainState":
        """The state before the first step."""
        optimizer = settings.optimizer.build(method.groups(model))
        scaler = torch.amp.GradScaler(settings.device, enabled=settings.precision == "fp16")
        return cls(optimizer, num_steps, scaler)

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
    batches: Iterable[Sequence[Batch]],
    settings: Training,
    state: TrainState,
) -> Iterator[Step]:
    """Learn from each sequence of micro-batches in turn, one optimiser step each, until the horizon.

    The model and the state are changed in place; between two steps both are whole and may be saved.
    """
    assert settings.learning_rate != "auto", "settings must be resolved before training"
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    for micro_batches in batches:
        learning_rate = settings.learning_rate * settings.schedule.factor(state.step, state.num_steps)
        _set_learning_rate(state, learning_rate)
        model.train()
        torch.manual_seed(_seed(settings.seed, state.step))  # dropout, the same whenever this step is done
        total, count = _backward(model, task, micro_batches, settings, state.scaler)
        grad_norm = _divide_and_clip(parameters, count, settings.max_grad_norm, state)
        is_finite = torch.isfinite(total) & (torch.isfinite(grad_norm) | state.scaler.is_enabled())
        _move(state, is_finite)
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.num_rows += sum(batch.num_rows for batch in micro_batches)
        state.num_tokens += sum(batch.num_tokens for batch in micro_batches)
        state.num_padding += sum(batch.num_padding for batch in micro_batches)
        yield Step(state.step, total / count, grad_norm, is_finite, learning_rate)
        if state.step >= state.num_steps:
            return


def _backward(
    model: PreTrainedModel,
    task: Task,
    micro_batches: Sequence[Batch],
    settings: Training,
    scaler: torch.amp.GradScaler,
) -> tuple[Tensor, Tensor]:
    """Add the gradient of the summed loss to every parameter; -> the sum and the count over all rows."""
    totals, counts = [], []
    for batch in micro_batches:
        with fast_dropout(settings.device):
            with arithmetic(settings.device, settings.precision):
                loss = task.loss(model, batch.to(model.device))
            summed = loss.total.sum()
            scaler.scale(summed).backward()
        totals.append(summed.detach())
        counts.append(loss.count.sum())
    return torch.stack(totals).sum(), torch.stack(counts).sum()


@torch.no_grad()
def _divide_and_clip(parameters: list[Tensor], count: Tensor, max_norm: float | None, state: TrainState) -> Tensor:
    """Divide the gradient of the sum by the count, and shorten it to `max_norm`, in one multiplication."""
    state.scaler.unscale_(state.optimizer)
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients, foreach=True) / count
    shrink = torch.ones_like(norm) if max_norm is None else (max_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, shrink / count)
    return norm


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


def _set_learning_rate(state: TrainState, learning_rate: float) -> None:
    for group in state.optimizer.param_groups:
        started = state.step >= group["starts_at_step"]
        group["lr"] = learning_rate * group["learning_rate_scale"] if started else 0.0
