"""A step that runs out of memory is computed again in smaller micro-batches: the run goes on, with the same losses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.evaluation.predict import predict
from luthier.methods.full import Full
from luthier.models.memory import ran_out
from luthier.tasks import Batch, Loss, Prediction
from luthier.tasks.text_classification import TextClassification
from luthier.training.course import Material, course
from tests.training.courses import Record, events, material, settings
from tests.training.test_resume import checkpoints, weights

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
ERRORS: dict[str, Callable[[], Exception]] = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"),
    "python": MemoryError,
}


class Cramped(TextClassification):
    """From some forward pass on, memory runs out with more rows than some."""

    most: int = 10
    since: int = 1
    error: str = "cuda"

    def predict(self, model: Any, batch: Batch, *, answers: bool = True) -> list[Prediction]:
        told = super().predict(model, batch, answers=answers)
        if batch.num_rows > self.most:
            raise ERRORS[self.error]()
        return told

    def loss(self, model: Any, batch: Batch) -> Loss:
        told = super().loss(model, batch)
        if model.training:
            model.passes = getattr(model, "passes", 0) + 1
            if model.passes >= self.since and batch.num_rows > self.most:
                raise ERRORS[self.error]()
        return told


def cramped(**how: Any) -> Material:
    made = material(**STILL)
    task = Cramped.model_validate({**made.task.model_dump(), **how})
    return Material(made.model, made.processor, task, made.train, made.validation)


def follow(made: Material, folder: Path | None = None, **given: Any) -> list[Record]:
    asked = settings(**{"steps": 8, "log_every": 1, **given})
    return list(course(made, Full(), asked, checkpoints=checkpoints(folder) if folder else None))


def losses(records: list[Record]) -> list[float]:
    return [record["loss"] for record in events(records, "step")]


@pytest.mark.parametrize("error", sorted(ERRORS))
@pytest.mark.parametrize(("accumulation", "parts"), [(1, 8), (2, 4)])
def test_the_run_goes_on_with_the_same_losses(accumulation: int, parts: int, error: str) -> None:
    expected = follow(material(**STILL), accumulation=accumulation)
    made = cramped(most=2, since=4 * accumulation, error=error)  # in step 4's last micro-batch
    records = follow(made, accumulation=accumulation)
    assert losses(records) == pytest.approx(losses(expected), rel=1e-6)
    assert losses(expected)[0] > 1.2 * losses(expected)[-1]
    assert [(record["step"], record["parts"]) for record in events(records, "memory")] == [(4, parts)]


def test_it_stays_so_for_the_rest_of_the_run_and_after_a_resume(tmp_path: Path) -> None:
    expected = follow(material(**STILL))
    first = course(
        cramped(most=5, since=3),
        Full(),
        settings(steps=8, log_every=1, checkpoint_every=1),
        checkpoints=checkpoints(tmp_path),
    )
    records: list[Record] = []
    for record in first:
        records.append(record)
        if record["event"] == "checkpoint" and record["step"] == 5:
            first.close()
    assert [(record["step"], record["parts"]) for record in events(records, "memory")] == [(3, 2)]
    again = cramped(most=5)
    second = follow(again, tmp_path, checkpoint_every=1)
    assert events(second, "memory") == []  # the checkpoint knows
    assert losses(records) + losses(second) == pytest.approx(losses(expected), rel=1e-6)
    assert again.model.passes == 2 * 3


def test_dropout_is_drawn_from_the_same_seed() -> None:
    """With micro-batches that are small from the start, the run is the same one."""
    runs = []
    for made in (material(), material()):
        task = Cramped.model_validate({**made.task.model_dump(), "most": 5})
        cut = Material(made.model, made.processor, task, made.train, made.validation)
        runs.append(losses(follow(cut, accumulation=2 if len(runs) else 1)))
    assert runs[0] == runs[1]


def test_what_the_step_had_computed_before_is_dropped() -> None:
    tight, wide = cramped(most=1, since=10), material(**STILL)  # in the last micro-batch of step 2
    follow(tight, accumulation=5, steps=2, optimizer={"kind": "sgd"})
    follow(wide, accumulation=5, steps=2, optimizer={"kind": "sgd"})
    assert tight.model.passes == 5 + 5 + 10
    assert all(torch.allclose(p, weights(wide)[name], rtol=1e-5, atol=1e-7) for name, p in weights(tight).items())


@pytest.mark.parametrize("error", sorted(ERRORS))
def test_an_evaluation_goes_on_in_halves(error: str) -> None:
    made = cramped(most=2, error=error)
    rows, how = made.train, {"batch_size": 8, "batch_tokens": None}
    expected = predict(made.model, material().task, rows, made.processor, **how)  # type: ignore[arg-type]
    found = predict(made.model, made.task, rows, made.processor, **how)  # type: ignore[arg-type]
    assert [one.value for one in found] == [one.value for one in expected]
    assert [one.loss for one in found] == pytest.approx([one.loss for one in expected], rel=1e-5)
    with pytest.raises(MemoryError):
        predict(made.model, cramped(most=0).task, rows, made.processor, **how)  # type: ignore[arg-type]


def test_a_single_row_that_does_not_fit_ends_the_run() -> None:
    with pytest.raises(MemoryError, match="CUDA out of memory"):
        follow(cramped(most=0))


def test_parameters_that_moved_already_are_not_moved_twice() -> None:
    with pytest.raises(MemoryError):
        follow(cramped(most=5), fused_backward=True, max_grad_norm=None)


def test_another_error_is_not_taken_for_it() -> None:
    assert not ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not ran_out(ValueError("DefaultCPUAllocator: can't allocate memory"))


def test_torch_says_it_in_the_words_that_are_looked_for() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    assert ran_out(caught.value)
