"""A loss or a gradient that is no finite number: the step is not taken, and it is told with its rows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from luthier.errors import NotFinite
from luthier.methods.full import Full
from luthier.training.course import course
from luthier.training.loop import TrainState, _move
from tests.training.courses import Record, events, material, settings
from tests.training.test_resume import checkpoints, weights


class Poison:
    """Makes the loss (or one gradient) of chosen steps no number; counts the forward passes."""

    def __init__(self, made: Any, *steps: int, value: float = float("nan"), only_gradient: bool = False) -> None:
        self.steps, self.value, self.only_gradient, self.passes = steps, value, only_gradient, 0
        made.model.classifier.register_forward_hook(self)

    def __call__(self, layer: nn.Module, _: Any, logits: torch.Tensor) -> torch.Tensor:
        self.passes += layer.training
        if self.passes not in self.steps or not layer.training:
            return logits
        if self.only_gradient:
            logits.register_hook(lambda gradient: gradient * self.value)
            return logits
        return logits * self.value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("only_gradient", [True, False])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_step_is_not_taken_and_the_run_ends_at_the_next_log_line(
    value: float, only_gradient: bool, optimizer: str, tmp_path: Path
) -> None:
    asked = settings(steps=9, log_every=5, checkpoint_every=1, optimizer=optimizer, best="last")
    made = material()
    Poison(made, 4, value=value, only_gradient=only_gradient)
    records: list[Record] = []
    with pytest.raises(NotFinite, match="step 4: the loss or its gradient is no finite number") as caught:
        records.extend(course(made, Full(), asked, checkpoints=checkpoints(tmp_path)))
    assert caught.value.step == 4
    assert len(caught.value.rows) == 10
    assert events(records, "progress")[-1]["step"] == 5
    assert all(torch.isfinite(p).all() for p in weights(made).values())
    assert checkpoints(tmp_path).newest()[0] is not None


def test_the_weights_are_those_of_the_step_before() -> None:
    made, history = material(), []
    Poison(made, 3)
    line = (history.append(weights(made)) for _ in course(made, Full(), settings(steps=3, log_every=3)))
    with pytest.raises(NotFinite):
        list(line)
    assert len(history) == 4  # the beginning and three steps
    assert all(torch.equal(p, history[2][name]) for name, p in weights(made).items())
    assert not all(torch.equal(p, history[1][name]) for name, p in weights(made).items())


def test_so_many_steps_may_be_left_out_and_one_more_ends_the_run() -> None:
    made = material()
    Poison(made, 2, 5)
    records = list(course(made, Full(), settings(steps=6, log_every=1, max_nan_steps=2)))
    logged = events(records, "step")
    assert [record.get("skipped") for record in logged] == [None, [2], None, None, [5], None]
    assert logged[1]["loss"] is None
    assert all(torch.isfinite(p).all() for p in weights(made).values())
    made = material()
    Poison(made, 2, 5, 6)
    with pytest.raises(NotFinite, match=r"step 6: .* \(more than max_nan_steps=2\)"):
        list(course(made, Full(), settings(steps=6, log_every=1, max_nan_steps=2)))


def test_left_out_steps_are_counted_over_a_resume(tmp_path: Path) -> None:
    asked = settings(steps=8, log_every=1, max_nan_steps=1, checkpoint_every=1)
    made, again = material(), material()
    Poison(made, 2)
    line = course(made, Full(), asked, checkpoints=checkpoints(tmp_path))
    for record in line:
        if record["event"] == "checkpoint" and record["step"] == 4:
            line.close()
    Poison(again, 2)  # of this process, so step 6
    with pytest.raises(NotFinite, match="step 6"):
        list(course(again, Full(), asked, checkpoints=checkpoints(tmp_path)))


@pytest.mark.parametrize("fused", [True, False])
def test_an_optimiser_that_cannot_read_the_flag_is_not_stepped(fused: bool) -> None:
    weight = nn.Parameter(torch.ones(3))
    state = TrainState(torch.optim.AdamW([weight], lr=0.1, fused=fused), 9, torch.amp.GradScaler("cpu", enabled=False))
    weight.grad = torch.full((3,), float("nan"))
    _move(state, torch.tensor(False))
    assert weight.tolist() == [1, 1, 1]
    weight.grad = torch.ones(3)
    _move(state, torch.tensor(True))
    assert (weight < 1).all()
