"""A base whose file is in bf16 is held so while a run trains in bf16; what comes out is what fp32 would have made."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from luthier.run import Record, Run
from tests.runs import tiny_run
from tests.tiny import tiny, tokenizer
from tests.training.courses import events

METHODS = [
    ("llama", {"kind": "lora", "rank": 4, "dora": True, "dropout": 0.1}),
    ("bert", {"kind": "partial", "train": ["last-1", "head"]}),
    ("bert", {"kind": "adapter", "reduction": 4}),
]


def in_bf16(folder: Path, family: str) -> Path:
    tiny(family, head="base", initializer_range=0.2).bfloat16().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def run_with(folder: Path, base: Path, dtype: str, method: Any) -> tuple[Run, list[Record]]:
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 5e-3, "precision": "bf16", "seed": 1}
    return tiny_run(folder, method=method, model={"name": str(base), "dtype": dtype}, training=training)


def saved(run: Run) -> dict[str, Tensor]:
    """All tensors that a run leaves."""
    files = [*run.adapter_folder.glob("*.safetensors"), *run.model_folder.glob("*.safetensors")]
    return {f"{file.parent.name}/{name}": tensor for file in files for name, tensor in load_file(file).items()}


@pytest.mark.parametrize(("family", "method"), METHODS, ids=["dora", "partial", "adapter"])
def test_a_run_on_it_ends_as_one_that_holds_it_in_fp32_to_the_last_bit(
    family: str, method: Any, tmp_path: Path
) -> None:
    base = in_bf16(tmp_path / "narrow", family)
    run, records = run_with(tmp_path / "a", base, "auto", method)
    wide, their_records = run_with(tmp_path / "b", base, "float32", method)
    assert any("held in bf16" in note for note in events(records, "model")[0]["notes"])
    assert not any("held in bf16" in note for note in events(their_records, "model")[0]["notes"])
    ours, theirs = saved(run), saved(wide)
    assert ours.keys() == theirs.keys()
    assert {tensor.dtype for tensor in ours.values()} == {torch.float32}
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert run.metrics == wide.metrics
    assert run.recipe.model.dtype == "auto"
    assert events(records, "self-check")[0]["difference"] < 1e-5


def test_a_run_in_fp32_holds_it_in_fp32(tmp_path: Path) -> None:
    base = in_bf16(tmp_path / "narrow", "bert")
    training = {"steps": 2, "batch_size": 8, "precision": "fp32"}
    _, records = tiny_run(tmp_path, method="lora", model=str(base), training=training)
    assert not any("held in bf16" in note for note in events(records, "model")[0]["notes"])
