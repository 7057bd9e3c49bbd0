"""A run that stopped goes on bit by bit as if it had not."""

import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.errors import RunError
from luthier.interrupt import Interrupted, Stop
from luthier.methods import Method
from luthier.methods.full import Full
from luthier.methods.lora import Lora
from luthier.methods.partial import Partial
from luthier.methods.prefix import Prefix
from luthier.methods.prompt import Prompt
from luthier.training import course as course_module
from luthier.training.checkpoints import Checkpoints
from luthier.training.course import Material, course
from luthier.training.settings import Training
from tests.training.courses import Record, events, material, settings

METHODS: dict[str, Method] = {
    "full": Full(),
    "lora": Lora(rank=2, dropout=0.1),
    "partial": Partial(train=("last-1",)),
    "prefix": Prefix(length=2, reparametrize=8, dropout=0.1),
    "prompt": Prompt(length=2),
}
STEPS = 12
"""Three passes over the rows; evaluations, log lines and the ends of passes fall on different steps."""
WAYS = [*product(METHODS, (("fp32", 1), ("bf16", 2))), ("full", ("fp32", 2)), ("full", ("bf16", 1))]
"""Each method in each precision and with each accumulation, and each precision with each accumulation."""


def checkpoints(folder: Path, keep: int = STEPS + 1) -> Checkpoints:
    return Checkpoints(folder, {"id": "this run"}, keep)


def made_for(method: Method) -> Material:
    sizes = {"num_hidden_layers": 2, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    return material(method, num_train=31, **sizes)


def weights(made: Material) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in made.model.named_parameters()}


def told(records: list[Record]) -> list[Record]:
    """What a log says of the learning: no clocks, no memory."""
    clocks = ("tokens_per_s", "remaining_s", "peak_bytes", "duration_s")
    kept = [r for r in records if r["event"] in ("step", "evaluation", "trained")]
    return [{key: value for key, value in record.items() if key not in clocks} for record in kept]


@pytest.fixture
def rows_seen(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The row numbers of every step, as they are drawn."""
    seen: list[list[int]] = []
    after: Callable[..., Any] = course_module.Order.after

    def listening(order: Any, step: int) -> Any:
        for rows in after(order, step):
            seen.append(rows.tolist())
            yield rows

    monkeypatch.setattr(course_module.Order, "after", listening)
    return seen


@pytest.mark.parametrize(("kind", "precision", "accumulation"), [(kind, *way) for kind, way in WAYS])
def test_a_run_goes_on_from_every_step_as_if_it_had_not_stopped(
    kind: str, precision: str, accumulation: int, tmp_path: Path, rows_seen: list[list[int]]
) -> None:
    method = METHODS[kind]
    asked = settings(
        steps=STEPS, batch_size=8, accumulation=accumulation, precision=precision, log_every=3, checkpoint_every=1,
        evaluate_every=4, keep_checkpoints=STEPS + 1,
    )  # fmt: skip
    calm = made_for(method)
    calm_told = told(list(course(calm, method, asked, checkpoints=checkpoints(tmp_path / "calm"))))
    calm_rows, expected = rows_seen[:STEPS], weights(calm)
    asked = asked.model_copy(update={"checkpoint_every": 1000})
    for step in range(1, STEPS + 1):
        copy = shutil.copytree(tmp_path / "calm" / f"step-{step}", tmp_path / str(step) / f"step-{step}")
        rows_seen.clear()
        again = made_for(method)
        records = list(course(again, method, asked, checkpoints=checkpoints(copy.parent)))
        assert records[0] == {"event": "begins", "step": step, "notes": ()}
        assert rows_seen[len(rows_seen) - (STEPS - step) :] == calm_rows[step:]  # frozen states are recorded first
        assert max((p - expected[name]).abs().max().item() for name, p in weights(again).items()) == 0
        assert told(records) == calm_told[-len(told(records)) :]


class AskedAt(Stop):
    """A stop that is asked for while one step is done."""

    def __init__(self, step: int, records: list[Record]) -> None:
        super().__init__()
        self.step, self.records = step, records

    @property
    def asked_by(self) -> Any:
        done = events(self.records, "progress")
        return 15 if done and done[-1]["step"] == self.step else None

    @asked_by.setter
    def asked_by(self, _: object) -> None: ...


def stopped_at(step: int, method: Method, asked: Training, folder: Path) -> None:
    records: list[Record] = []
    line = course(made_for(method), method, asked, checkpoints=checkpoints(folder), stop=AskedAt(step, records))
    with pytest.raises(Interrupted, match=rf"stopped after step {step} of"):
        records.extend(line)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_stopped_run_goes_on_with_every_schedule_and_optimiser(schedule: str, optimizer: str, tmp_path: Path) -> None:
    asked = settings(epochs=3, batch_size=8, schedule=schedule, optimizer=optimizer)
    calm, again = made_for(Full()), made_for(Full())
    list(course(calm, Full(), asked))
    stopped_at(5, Full(), asked, tmp_path)
    list(course(again, Full(), asked, checkpoints=checkpoints(tmp_path)))
    assert all(torch.equal(p, weights(calm)[name]) for name, p in weights(again).items())


def test_patience_and_the_best_state_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = {1: 0.5, 2: 0.9, 3: 0.7, 4: 0.6, 5: 0.5, 6: 0.4}
    step_now: list[int] = []
    scripted: Any = lambda *asked, **_: {metric.name: script[step_now[-1]] for metric in asked[-1]}  # noqa: E731
    monkeypatch.setattr(course_module, "values", scripted)
    asked = settings(steps=9, evaluate_every=1, best="f1-macro", patience=3, checkpoint_every=1)

    def follow(folder: Path, stop: Stop | None = None, kept: list[Record] | None = None) -> tuple[list[Record], Any]:
        made, records = made_for(Full()), [] if kept is None else kept
        for record in course(made, Full(), asked, checkpoints=checkpoints(folder), stop=stop):
            records.append(record)
            step_now.extend([record["step"]] if record["event"] == "progress" else [])
        return records, weights(made)

    calm, expected = follow(tmp_path / "calm")
    first: list[Record] = []
    with pytest.raises(Interrupted):
        follow(tmp_path / "stopped", AskedAt(4, first), first)
    second, found = follow(tmp_path / "stopped")
    assert [r["step"] for r in events(second, "evaluation")] == [5]
    assert told(calm)[-1] == told(second)[-1]
    assert all(torch.equal(p, expected[name]) for name, p in found.items())
    third, found = follow(tmp_path / "stopped")  # it had come to its early end
    assert events(third, "progress") == []
    assert all(torch.equal(p, expected[name]) for name, p in found.items())


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(tmp_path: Path) -> None:
    asked = settings(steps=6, checkpoint_every=2)
    calm, again = made_for(Full()), made_for(Full())
    list(course(calm, Full(), asked, checkpoints=checkpoints(tmp_path)))
    file = tmp_path / "step-6" / "optimizer-exp_avg.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    records = list(course(again, Full(), asked, checkpoints=checkpoints(tmp_path)))
    assert records[0]["step"] == 4
    assert "step-6 is not used: optimizer-exp_avg.safetensors is damaged" in records[0]["notes"][0]
    assert all(torch.equal(p, weights(calm)[name]) for name, p in weights(again).items())


def test_another_methods_checkpoint_is_refused(tmp_path: Path) -> None:
    asked = settings(steps=2)
    list(course(made_for(Full()), Full(), asked, checkpoints=checkpoints(tmp_path)))
    lora = METHODS["lora"]
    with pytest.raises(RunError, match="does not fit this model and method"):
        list(course(made_for(lora), lora, asked, checkpoints=checkpoints(tmp_path)))


def test_never_means_no_checkpoint(tmp_path: Path) -> None:
    list(
        course(made_for(Full()), Full(), settings(steps=2, checkpoint_every="never"), checkpoints=checkpoints(tmp_path))
    )
    assert list(tmp_path.iterdir()) == []
