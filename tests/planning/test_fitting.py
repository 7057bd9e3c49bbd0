"""What makes a step fit: smaller micro-batches where they are as fast, else checkpointing, or where only that helps."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier import recipe as recipes
from luthier.component import Facts
from luthier.errors import ModelError
from luthier.models import checkpointing
from luthier.planning import fitting, stages
from luthier.planning.fitting import fastest
from luthier.planning.plan import Room
from luthier.planning.subject import Subject, ready, subject_of
from luthier.training.settings import Training
from tests.tiny import FAMILIES

LENGTH, NUM_ROWS = 64, 6
BLOCKS = {"checkpointing": "blocks"}


def asked(folder: Path, *overrides: str, device: str = "cpu") -> Subject:
    """Four blocks, of which the activations of one are held at a time where they are computed again."""
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **FAMILIES["llama"]}))
    said = [f"model={folder}", "data.train=none", "task=causal-lm", f"training.batch_size={NUM_ROWS}"]
    said += [f"training.device={device}", "training.precision=bf16", "training.micro_batch_tokens=null"]
    return subject_of(recipes.parse("", [*said, *overrides]), length=LENGTH)


def peak(subject: Subject, **training: Any) -> int:
    with ready(subject.of(training=training)) as made:
        return stages.training(made).peak


def chosen(subject: Subject, memory: int) -> dict[str, Any] | None:
    return fastest(subject, Room(memory), LENGTH)


def test_a_cpu_takes_smaller_micro_batches_where_a_gpu_takes_checkpointing(tmp_path: Path) -> None:
    subject, on_gpu = asked(tmp_path), asked(tmp_path, device="cuda")
    assert chosen(subject, peak(subject, micro_batch_size=3)) == {"micro_batch_size": 3}
    memory = peak(on_gpu, micro_batch_size=3)
    assert peak(on_gpu, **BLOCKS) < memory
    assert chosen(on_gpu, memory) == BLOCKS


def test_a_gpu_takes_nearly_as_many_rows_rather_than_checkpointing(tmp_path: Path) -> None:
    subject = asked(tmp_path, device="cuda")
    assert chosen(subject, peak(subject, micro_batch_size=5)) == {"micro_batch_size": 5}


def test_a_micro_batch_that_keeps_a_gpu_busy_is_small_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = asked(tmp_path, device="cuda")
    memory = peak(subject, micro_batch_size=2)
    monkeypatch.setattr(fitting, "FILLED", 32 * 2 * LENGTH)  # at a width of 32, two rows
    monkeypatch.setattr(fitting, "_with_blocks", None)
    assert chosen(subject, memory) == {"micro_batch_size": 2}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_where_not_even_a_row_fits_blocks_are_computed_again(device: str, tmp_path: Path) -> None:
    subject = asked(tmp_path, device=device)
    memory = peak(subject, micro_batch_size=1, **BLOCKS)
    assert memory < peak(subject, micro_batch_size=1)
    assert chosen(subject, memory) == {**BLOCKS, "micro_batch_size": 1}
    assert chosen(subject.of(training={"checkpointing": None}), memory) is None
    assert chosen(subject, memory // 2) is None


@pytest.mark.parametrize(
    "more", [["training.micro_batch_size=6"], ["training.fused_backward=true", "training.max_grad_norm=null"]]
)
def test_a_batch_that_may_not_be_cut_gets_checkpointing_alone(more: list[str], tmp_path: Path) -> None:
    subject = asked(tmp_path, *more)
    assert chosen(subject, peak(subject, **BLOCKS)) == BLOCKS


def test_a_model_whose_blocks_are_not_found_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: Any) -> None:
        raise ModelError("no blocks")

    subject = asked(tmp_path, device="cuda")
    several, single = (peak(subject, micro_batch_size=num_rows) for num_rows in (3, 1))
    monkeypatch.setattr(checkpointing, "read", refuse)
    assert chosen(subject, several) == {"micro_batch_size": 3}
    assert chosen(subject, single - 1) is None


def test_what_nobody_settled_is_off() -> None:
    assert Training().checkpointing == "auto"
    assert Training().resolve(Facts(device="cpu")).checkpointing is None
    assert Training(checkpointing="blocks").resolve(Facts(device="cpu")).checkpointing == "blocks"
