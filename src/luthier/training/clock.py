"""Speed, memory and losses of a training, from log line to log line."""

import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch

from luthier.training.loop import Step, TrainState


class Clock:
    """Seconds, tokens and losses between log lines; evaluations and checkpoints are not counted as training."""

    def __init__(self, state: TrainState, num_steps: int) -> None:
        self.state, self.num_steps = state, num_steps
        self.started = self.seen_at = time.perf_counter()
        self.seen_step = self.seen_tokens = 0
        self.waiting: list[Step] = []
        """Steps since the last log line."""

    def add(self, step: Step) -> None:
        self.waiting.append(step)

    def read(self, *, epoch: float) -> dict[str, Any]:
        """A log line of the steps since the last one; steps that were not taken are named under `skipped`."""
        taken = [step for step in self.waiting if step.is_finite.item()]
        skipped = [step.number for step in self.waiting if step not in taken]
        last, self.waiting = self.waiting[-1], []
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
            "loss": fmean(step.loss.item() for step in taken) if taken else None,
            "learning_rate": last.learning_rate,
            "grad_norm": last.grad_norm.item() if last in taken else None,
            **({"skipped": skipped} if skipped else {}),
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

    def figures(self) -> dict[str, Any]:
        """What a checkpoint keeps: seconds so far, and the steps that wait for their log line."""
        waiting = [
            [step.number, step.loss.item(), step.grad_norm.item(), step.is_finite.item(), step.learning_rate]
            for step in self.waiting
        ]
        counts = {"seen_step": self.seen_step, "seen_tokens": self.seen_tokens}
        now = time.perf_counter()
        return {"seconds": now - self.started, "since_s": now - self.seen_at, "waiting": waiting, **counts}

    def set_figures(self, figures: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        now = time.perf_counter()
        self.started, self.seen_at = now - figures["seconds"], now - figures["since_s"]
        self.seen_step, self.seen_tokens = figures["seen_step"], figures["seen_tokens"]
        self.waiting = [
            Step(number, torch.tensor(loss), torch.tensor(norm), torch.tensor(is_finite), learning_rate)
            for number, loss, norm, is_finite, learning_rate in figures["waiting"]
        ]


def peak_bytes() -> int:
    """Most memory held so far: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
