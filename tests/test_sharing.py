"""Several runs on one base: the weights are there once, and each run answers as when it is alone."""

from pathlib import Path
from typing import Any

import pytest
import torch

import luthier
from luthier.errors import RunError
from luthier.methods._low_rank import Update
from luthier.run import Run
from tests.runs import tiny_model, write_rows

TEXTS = [f"w{number % 5} w{number} w{number + 20}" for number in range(12)]


def tuned(folder: Path, name: str, **said: Any) -> Run:
    """A run on the base that lies in the folder."""
    base = folder / "base"
    if not base.is_dir():
        tiny_model(base)
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 5e-3, "precision": "fp32"}
    rows = {"train": str(write_rows(folder / f"{name}.csv")), "test": 0.2}
    usual = {"model": str(base), "data": rows, "task": "text-classification", "training": training}
    return luthier.tune(**{**usual, **said, "output": folder / name})


@pytest.mark.slow
def test_runs_on_one_base_answer_as_alone_and_hold_its_weights_once(tmp_path: Path) -> None:
    methods = {"low": "lora", "head": {"kind": "partial", "train": ["head"]}, "top": {"kind": "partial"}}
    alone = {name: tuned(tmp_path, name, method=method) for name, method in methods.items()}
    shared = luthier.share([run.folder for run in alone.values()])
    assert list(shared) == list(methods)
    for _ in range(2):  # in turns, request by request
        for text in TEXTS:
            for name, run in alone.items():
                (mine,), (theirs,) = shared[name].predict([text]), run.predict([text])
                assert mine["label"] == theirs["label"]
                assert mine["scores"] == pytest.approx(theirs["scores"], abs=1e-5)

    models = [run.load()[0] for run in shared.values()]
    body = sum(p.nbytes for p in models[0].base_model.parameters() if not p.requires_grad)
    assert body == sum(p.nbytes for name, p in models[1].named_parameters() if name.startswith("bert."))
    assert shared.shared_bytes == 2 * body
    held = {p.untyped_storage().data_ptr() for model in models for p in model.base_model.parameters()}
    assert len(held) == len(list(models[0].base_model.parameters()))  # the first one's updates are among them


@pytest.mark.slow
def test_what_has_no_base_in_common_or_nothing_apart_is_refused(tmp_path: Path) -> None:
    low, other = tuned(tmp_path, "low", method="lora"), tuned(tmp_path / "other", "low", method="lora")
    with pytest.raises(RunError, match="have one name"):
        luthier.share([low.folder, other.folder])
    full = tuned(tmp_path, "full")
    with pytest.raises(RunError, match="full changes the base itself"):
        luthier.share([low.folder, full.folder])
    with torch.no_grad():
        foreign = other.load_apart()[0]
        for parameter in foreign.parameters():
            parameter.add_(1.0)
    foreign.base_model.save_pretrained(tmp_path / "other" / "base")
    with pytest.raises(RunError, match="their base is not the same"):
        luthier.share({"one": low.folder, "two": other.folder})


@pytest.mark.slow
def test_runs_of_lora_are_weighted(tmp_path: Path) -> None:
    runs = [tuned(tmp_path, name, method={"kind": "lora", "rank": rank}) for name, rank in (("one", 2), ("two", 4))]
    shared = luthier.share([run.folder for run in runs])
    mixed = shared.mixed({"one": 0.7, "two": -0.4})

    for name, update in mixed.load()[0].named_modules():
        if isinstance(update, Update):
            one, two = (run.load()[0].get_submodule(name).weight() for run in shared.values())
            torch.testing.assert_close(update.weight(), 0.7 * one - 0.4 * two, rtol=0, atol=1e-6)
            assert len(update.A) == 2 + 4
    same = shared.mixed({"one": 1.0, "two": 0.0})
    for text in TEXTS[:3]:
        (mine,), (theirs,) = same.predict([text]), shared["one"].predict([text])
        assert mine["scores"] == pytest.approx(theirs["scores"], abs=1e-5)
    head = tuned(tmp_path, "head", method={"kind": "partial", "train": ["head"]})
    with pytest.raises(RunError, match="only runs of lora can be mixed"):
        luthier.share([runs[0].folder, head.folder]).mixed({"one": 0.5, "head": 0.5})
