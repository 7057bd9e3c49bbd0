"""Speed, memory and losses of a training, from log line to log line."""

import math
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from luthier.errors import TrainingError
from luthier.training.loop import Step, TrainState


class Clock:
    """Seconds, tokens and losses between log lines; evaluations are not counted as training."""

    def __init__(self, state: TrainState, num_steps: int) -> None:
        self.state, self.num_steps = state, num_steps
        self.started = self.seen_at = time.perf_counter()
        self.seen_step = self.seen_tokens = 0
        self.losses: list[Step] = []

    def add(self, step: Step) -> None:
        self.losses.append(step)

    def read(self, *, epoch: float) -> dict[str, Any]:
        """A log line of the steps since the last one."""
        loss = torch.stack([step.loss for step in self.losses]).mean().item()
        last, self.losses = self.losses[-1], []
        grad_norm = last.grad_norm.item()
        if not (math.isfinite(loss) and math.isfinite(grad_norm)) and not self.state.scaler.is_enabled():
            raise TrainingError(
                f"step {last.number}: the loss is {loss}, its gradient's norm {grad_norm}; "
                "try a smaller learning_rate, or precision bf16 or fp32"
            )
        now, tokens = time.perf_counter(), self.state.num_tokens
        seconds = now - self.seen_at
        per_step = seconds / (self.state.step - self.seen_step)
        speed = (tokens - self.seen_tokens) / seconds
        self.seen_at, self.seen_step, self.seen_tokens = now, self.state.step, tokens
        return {
            "event": "step",
            "step": self.state.step,
            "num_steps": self.num_steps,
            "epoch": epoch,
            "loss": loss,
            "learning_rate": last.learning_rate,
            "grad_norm": grad_norm,
            "tokens_per_s": round(speed, 1),
            "peak_bytes": peak_bytes(),
            "remaining_s": round(per_step * (self.num_steps - self.state.step), 1),
        }

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While open, the clock stands still."""
        since = time.perf_counter()
        yield
        away = time.perf_counter() - since
        self.started += away
        self.seen_at += away

    def summary(self) -> dict[str, Any]:
        """The whole training."""
        state, seconds = self.state, time.perf_counter() - self.started
        return {
            "steps": state.step,
            "rows": state.num_rows,
            "tokens": state.num_tokens,
            "padding": round(state.num_padding / max(1, state.num_padding + state.num_tokens), 4),
            "duration_s": round(seconds, 2),
            "tokens_per_s": round(state.num_tokens / seconds, 1),
            "peak_bytes": peak_bytes(),
        }


def peak_bytes() -> int:
    """Most memory held so far: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
