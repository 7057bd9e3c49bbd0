"""The plan of a run: what each stage takes, the largest micro-batch that fits, how long, and what to choose."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from luthier.models.memory import available
from luthier.models.quantise import num_weights
from luthier.planning import stages
from luthier.planning.advice import advice
from luthier.planning.ledger import total
from luthier.planning.options import Option, options, sharded
from luthier.planning.stages import Stage
from luthier.planning.subject import Subject, ready
from luthier.recipe import Recipe

CUDA_CONTEXT = 600_000_000
"""Bytes that a GPU's driver and libraries take beside all tensors; they are no part of a rehearsal."""


@dataclass(frozen=True)
class Room:
    """The memory that a run may take."""

    memory: int | None
    """Bytes of one device; None where nobody knows."""
    num_devices: int = 1
    is_stated: bool = False
    """Whether a user said how much there is."""

    def holds(self, peak: int) -> bool:
        """Whether so much fits."""
        return self.memory is None or peak <= self.memory


@dataclass(frozen=True)
class Plan:
    """All that is known before the run."""

    recipe: Recipe
    """Resolved."""
    device: str
    room: Room
    stages: tuple[Stage, ...]
    num_parameters: int
    num_learnt: int
    num_steps: int | None
    """Optimiser steps of the run; None where its rows are made up and nothing says how many there are."""
    micro_batch: int | None
    """Most rows of this length that can be computed at once; 0 where not even one can."""
    seconds: tuple[float, float] | None = None
    """Least and most seconds of a step; None where no rate is known."""
    options: tuple[Option, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether every stage has room."""
        return all(self.room.holds(stage.peak) for stage in self.stages)


def room_of(device: str, memory: int | None, num_devices: int = 1) -> Room:
    """The room on a device: what is stated, or what is free now."""
    found = available(device) if memory is None else memory
    taken = CUDA_CONTEXT if device == "cuda" else 0
    return Room(None if found is None else max(0, found - taken), num_devices, memory is not None)


def plan(
    subject: Subject,
    room: Room,
    *,
    rate: float | None = None,
    seconds: tuple[float, float] | None = None,
    compare: bool = True,
    on_progress: Callable[[str], object] = lambda what: None,
) -> Plan:
    """Rehearse every stage, and each method with `compare`; `rate` is in floating-point operations a second."""
    done = []
    for rehearse in (stages.training, stages.evaluation, stages.generation, stages.loading):
        on_progress(rehearse.__name__)
        with ready(subject) as made:
            stage = rehearse(made)
            num_parameters, num_learnt = num_weights(made.model)
            resolved = made.recipe
        if stage is not None:
            done.append(replace(stage, parts=sharded(stage.parts, room.num_devices)))
    if seconds is None and rate is not None:
        seconds = (done[0].num_flops / rate / room.num_devices,) * 2
    on_progress("micro-batch")
    largest = None if resolved.training.fused_backward else largest_micro_batch(subject, room)
    compared = []
    for option in options(subject, room.num_devices) if compare else ():
        on_progress(option.name)
        compared.append(option)
    num_labels = 0 if resolved.method.kind() == "setfit" else len(getattr(resolved.task, "labels", ()))
    told = advice(
        compared, room.memory, num_rows=subject.num_rows, num_labels=num_labels, num_parameters=num_parameters
    )
    return Plan(
        resolved,
        subject.rows.device,
        room,
        tuple(done),
        num_parameters,
        num_learnt,
        num_steps(resolved, subject.num_rows),
        largest,
        seconds,
        tuple(compared),
        tuple(told),
    )


def largest_micro_batch(subject: Subject, room: Room) -> int | None:
    """Most rows that can be computed at once, found by halving; None where nobody knows how much memory there is."""
    if room.memory is None:
        return None

    def fits(num_rows: int) -> bool:
        at_once = {"micro_batch_size": num_rows, "micro_batch_tokens": None, "accumulation": 1}
        with ready(subject.of(training=at_once)) as made:
            return room.holds(total(sharded(stages.training(made).parts, room.num_devices)))

    most = subject.recipe.training.batch_size
    if fits(most):
        return most
    if most == 1 or not fits(1):
        return 0
    low, high = 1, most  # `low` fits, `high` does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def num_steps(recipe: Recipe, num_rows: int | None) -> int | None:
    """Optimiser steps of a run, batches by tokens not regarded."""
    training = recipe.training
    if training.steps is not None:
        return training.steps
    if num_rows is None or training.epochs is None:
        return None
    return max(1, round(training.epochs * math.ceil(num_rows / training.batch_size)))


def as_data(made: Plan) -> dict[str, Any]:
    """A plan as JSON holds it; memory is in bytes."""
    return {
        "device": made.device,
        "memory": made.room.memory,
        "devices": made.room.num_devices,
        "fits": made.fits,
        "parameters": made.num_parameters,
        "trainable": made.num_learnt,
        "stages": {
            stage.name: {"peak": stage.peak, **stage.parts, "flops": stage.num_flops, "tokens": stage.num_tokens}
            for stage in made.stages
        },
        "steps": made.num_steps,
        "seconds_per_step": made.seconds,
        "micro_batch_size": made.micro_batch,
        "options": [
            {
                "method": option.name,
                "checkpointing": option.checkpointing,
                "peak": option.peak,
                "fits": made.room.holds(option.peak),
                "settings": option.settings,
            }
            for option in made.options
        ],
        "advice": made.advice,
    }
