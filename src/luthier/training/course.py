"""The course of a training: steps, log lines, evaluations, the best state, checkpoints, an early end.

All that surrounds the one loop, as one generator of records; whoever follows it logs and shows them.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel

from luthier.errors import NotFinite, RunError, TrainingError
from luthier.evaluation.judge import cheap, values
from luthier.evaluation.metrics import Metric
from luthier.evaluation.score import metrics_of
from luthier.interrupt import Interrupted, Stop
from luthier.methods import Method, Stage
from luthier.models.flat import is_laid
from luthier.models.frozen.cache import FrozenCache
from luthier.models.processor import Processor
from luthier.tasks import Batch, Task
from luthier.training import snapshot
from luthier.training.best import Best
from luthier.training.caching import Prepared, Stores, collated, kept, record, summary
from luthier.training.checkpoints import Checkpoints
from luthier.training.clock import Clock
from luthier.training.loop import LISTENED, TrainState, train
from luthier.training.order import Order
from luthier.training.portions import Portion, Rows, portions
from luthier.training.settings import Training
from luthier.training.silence import named
from luthier.training.watching import watched

AUTO_SECONDS = 15 * 60
"""Longest time without a checkpoint where the recipe leaves it to us."""


@dataclass(frozen=True)
class Material:
    """What a training works on: a model with its method applied, and prepared rows."""

    model: PreTrainedModel
    processor: Processor
    task: Task
    train: Dataset
    validation: Dataset | None


def course(
    material: Material,
    method: Method,
    settings: Training,
    *,
    checkpoints: Checkpoints | None = None,
    stop: Stop | None = None,
    pauses: Sequence[float] = (),
    shared: Stores | None = None,
) -> Iterator[dict[str, Any]]:
    """Train to the horizon or the early end, and leave the best state in the model.

    Goes on from the newest checkpoint where there is one. `pauses` are shares of the whole course: after each a
    checkpoint is written and a record `pause` told, so that whoever follows may leave it there; before the first step
    comes a record `ready`. `shared` keeps the states of frozen parts for other courses too. Raises NotFinite where loss
    or gradient is no number, RunError where a checkpoint cannot be written, Interrupted where a signal asked to stop.
    """
    line = _Line.start(material, method, settings, checkpoints, stop or Stop())
    line.pauses = frozenset(step_at(share, line.order.num_steps) for share in pauses)
    line.shared = shared
    yield from line.go_on()
    with line.stop.waits_for_border():
        try:
            yield from line.keep_frozen_states()
            if pauses:
                yield {"event": "ready", "step": line.state.step, "num_steps": line.order.num_steps}
            yield from line.steps()
            yield from line.last_words()
        finally:
            line.drop_frozen_states()
    if line.best:
        line.best.restore(material.model)
    best_step = (line.best and line.best.step) or line.state.step
    yield {"event": "trained", **line.clock.summary(), "best_step": best_step}


@dataclass
class _Line:
    """A training on its way."""

    material: Material
    stage: Stage
    settings: Training
    order: Order
    state: TrainState
    clock: Clock
    watch: Metric | None
    best: Best | None
    checkpoints: Checkpoints | None
    stop: Stop
    saved_at: float = field(default_factory=time.monotonic)
    cache: FrozenCache | None = None
    """What keeps the states of the model's frozen part."""
    shared: Stores | None = None
    pauses: frozenset[int] = frozenset()
    """Steps after which somebody else says whether it goes on; only they, and time, call for checkpoints then."""

    @classmethod
    def start(
        cls, material: Material, method: Method, settings: Training, checkpoints: Checkpoints | None, stop: Stop
    ) -> "_Line":
        stage = method.stage(material.task)
        order = Order.of(stage, material.train, settings)
        state = TrainState.start(material.model, method, settings, order.num_steps, order.epoch_ends)
        is_judged = material.validation is not None and stage.is_judged
        watch = watched(material.task, settings, has_validation=is_judged)
        best = Best(watch.higher_is_better, settings.patience) if watch else None
        writes = settings.checkpoint_every != "never"
        clock = Clock(state, order.num_steps)
        kept = checkpoints if writes else None
        return cls(material, stage, settings, order, state, clock, watch, best, kept, stop)

    def go_on(self) -> Iterator[dict[str, Any]]:
        """From the newest checkpoint that is whole, where there is one; else from the beginning."""
        faults: tuple[str, ...] = ()
        if self.checkpoints is not None:
            self.checkpoints.tidy()
            found, faults = self.checkpoints.newest()
            if found is not None:
                self._require_way_to_go(found.step)
                snapshot.restore(found, self.material.model, self.state, self.best, self.clock)
            else:
                self.checkpoints.require_room((self.checkpoints.keep + 1) * snapshot.size_bytes(self.material.model))
        yield {"event": "begins", "step": self.state.step, "notes": faults}

    def _require_way_to_go(self, step: int) -> None:
        if step > self.order.num_steps:
            raise RunError(
                f"training: the run has come to step {step}, but has {self.order.num_steps} steps now; "
                "give it more epochs or steps, or begin anew with --overwrite"
            )

    def keep_frozen_states(self) -> Iterator[dict[str, Any]]:
        """Compute the states of the frozen part once for each row from now on, where that pays."""
        if self.shared is None and self._is_over():
            return  # other courses' states also serve whoever judges the end
        if self.shared is not None and not self._trains_again:
            return  # what is computed once has the dropout that it would have without other courses
        material = self.material
        seen_again = [material.train] if self._trains_again else []
        if (self.best or self.shared is not None) and material.validation is not None:
            seen_again.append(material.validation)
        about = Prepared(material.model, material.processor, self.stage.task, material.train, tuple(seen_again))
        self.cache, told = kept(about, self.settings, self.shared, self.stop)
        if told is not None:
            yield told
        if self.cache is not None and self._trains_again and self.shared is None:
            self._record_again()

    @property
    def _trains_again(self) -> bool:
        return self.order.num_steps > self.order.epoch_ends[0] or self.settings.cache == "disk"

    def _record_again(self) -> None:
        """The states of the rows that the run learnt from before it stopped, batch by batch as they were then.

        In other batches they would be rounded otherwise, and the run would not go on bit by bit.
        """
        done = min(self.state.step, self.order.epoch_ends[0])
        for portion in islice(self._portions(after=0), done):
            for batch in portion(self.state.num_parts):
                record(self.material.model, self.stage.task, batch, self.settings)

    def drop_frozen_states(self) -> None:
        """Serve the model no longer; what was kept in memory is gone."""
        if self.cache is not None:
            self.cache.close()
            if self.shared is None:
                self.cache.store.close()

    def steps(self) -> Iterator[dict[str, Any]]:
        """Every step that is left, with what is due after it."""
        if self._is_over():
            return
        model, num_parts = self.material.model, self.state.num_parts
        for step in train(model, self.stage.task, self._portions(after=self.state.step), self.settings, self.state):
            yield {"event": "progress", "step": step.number, "num_steps": self.order.num_steps}
            if self.state.num_parts != num_parts:
                num_parts = self.state.num_parts
                yield {"event": "memory", "step": step.number, "parts": num_parts}
            if step.number == min(LISTENED, self.order.num_steps):
                yield from named(self.material.model, self.state.silent, self.state.step)
            self.clock.add(step)
            is_last = step.number == self.order.num_steps
            if step.number % self.settings.log_every == 0 or is_last:
                record = self._read_clock()
                yield record
                if self.stage.enough is not None and record["loss"] is not None:
                    self.state.has_enough = record["loss"] <= self.stage.enough
            if self.best and (is_last or self._is_due(self.settings.evaluate_every)):
                with self.clock.paused():
                    yield self._evaluate(self.best)
            with self.clock.paused():
                yield from self._checkpoint()
                if step.number in self.pauses:
                    yield {"event": "pause", "step": step.number}
            if self.stop.asked_by is not None:
                raise Interrupted(self.stop.asked_by, f"stopped after step {step.number} of {self.order.num_steps}")
            if self._is_over():
                return

    def _portions(self, *, after: int) -> Iterator[Portion]:
        """What every step after this one learns from."""
        task, rows, processor = self.stage.task, self.material.train, self.material.processor
        keyed = self.cache is not None and self._trains_again

        def collate(numbers: Rows) -> Batch:
            return collated(task, rows[numbers], processor, keyed=keyed)

        return portions(self.order, self.settings, collate, after=after, is_flat=is_laid(self.material.model))

    def last_words(self) -> Iterator[dict[str, Any]]:
        """The log line of what an early end cut off, and how often frozen states were reused."""
        if self.clock.waiting:
            yield self._read_clock()
        if self.cache is not None:
            yield summary(self.cache)

    def _is_over(self) -> bool:
        at_its_end = self.state.step >= self.order.num_steps or self.state.has_enough
        return at_its_end or (self.best is not None and self.best.time_to_stop)

    def _is_due(self, every: int | None) -> bool:
        """After every so many steps; else at each epoch's end."""
        return self.state.step % every == 0 if every else self.state.step in self.order.epoch_ends

    def _read_clock(self) -> dict[str, Any]:
        """The log line; steps that were not taken are counted, and end the run when there are too many."""
        record = self.clock.read(epoch=self.order.epoch_at(self.state.step))
        skipped = record.get("skipped", [])
        self.state.num_skipped += len(skipped)
        if self.state.num_skipped > self.settings.max_nan_steps:
            first = skipped[0]
            raise NotFinite(first, self.order.rows(first).tolist(), _not_finite(first, self.settings))
        if self.state.scaler.is_enabled() and self.state.scaler.get_scale() < 1:
            raise TrainingError(f"step {self.state.step}: gradients overflow fp16 at every scale; use bf16 or fp32")
        return record

    def _evaluate(self, best: Best) -> dict[str, Any]:
        """The task's first metric, its loss, and the watched one, on the validation rows."""
        material, rows = self.material, self.material.validation
        assert rows is not None and self.watch is not None
        usual = metrics_of((material.task.metrics[0], "loss"))
        metrics = (*(usual if self.watch.reads_answers else cheap(material.task, usual)), self.watch)
        scores = values(material.model, material.task, rows, material.processor, metrics, **self.settings.evaluation())
        is_best = best.see(scores[self.watch.name], self.state.step, material.model)
        return {"event": "evaluation", "step": self.state.step, **scores, "best": is_best}

    def _checkpoint(self) -> Iterator[dict[str, Any]]:
        """Where one is due, or the run is about to leave the loop."""
        every = self.settings.checkpoint_every
        long_ago = every == "auto" and time.monotonic() - self.saved_at > AUTO_SECONDS
        is_due = self._is_due(every if isinstance(every, int) else None)
        due = long_ago or (self.state.step in self.pauses if self.pauses else is_due)
        if self.checkpoints is None or not (due or self._is_over() or self.stop.asked_by is not None):
            return
        start = time.perf_counter()
        self.checkpoints.save(
            self.state.step, *snapshot.capture(self.material.model, self.state, self.best, self.clock)
        )
        self.saved_at = time.monotonic()
        yield {"event": "checkpoint", "step": self.state.step, "duration_s": round(time.perf_counter() - start, 3)}


def step_at(share: float, num_steps: int) -> int:
    """The step that ends a share of a course; one at least."""
    return max(1, round(share * num_steps))


def _not_finite(step: int, settings: Training) -> str:
    allowed = f" (more than max_nan_steps={settings.max_nan_steps})" if settings.max_nan_steps else ""
    return (
        f"step {step}: the loss or its gradient is no finite number{allowed}; the step was not taken. Try a smaller "
        "training.learning_rate, precision bf16 or fp32, or leave such steps out with training.max_nan_steps=10"
    )
