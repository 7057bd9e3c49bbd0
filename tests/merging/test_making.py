"""Whole merges of tiny models, as a user makes them: what is written, what a kill leaves, what a full disk says."""

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.errors import MergeError, RunError
from luthier.merging.making import How, make
from luthier.merging.recipes.reading import from_options, parse
from tests.merging.models import family

KILLED = """
import os, signal, sys
from pathlib import Path
from luthier.merging import shards
from luthier.merging.making import How, make
from luthier.merging.recipes.reading import from_options
after, folder = int(sys.argv[1]), Path(sys.argv[2])
seen, done, write = [0], shards.Shards.is_done, shards.Shards.write
def counted(act):
    def acts(self, *args):
        seen[0] += 1
        if seen[0] == after:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(self, *args)
    return acts
shards.Shards.is_done, shards.Shards.write = counted(done), counted(write)
recipe = from_options("ties", [str(folder / "a"), str(folder / "b")], base=str(folder / "base"))
list(make(recipe, folder / "out", How(num_threads=1, is_checked=False)))
"""
"""A merge that is killed before it writes, or journals, for the n-th time."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return family(tmp_path_factory.mktemp("models"))


def ties(models: dict[str, Path]) -> Any:
    return from_options("ties", [str(models["a"]), str(models["b"])], base=str(models["base"]))


def merge(models: dict[str, Path], output: Path, **how: Any) -> list[dict[str, Any]]:
    return list(make(ties(models), output, How(**how)))


def test_the_merged_folder_is_a_model(models: dict[str, Path], tmp_path: Path) -> None:
    records = merge(models, tmp_path / "out")
    assert records[0]["event"] == "planned"
    assert records[-1] == {"event": "checked", "tensors": records[0]["tensors"], "loaded": True}
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "out")("w1 w2 w3", return_tensors="pt")
    assert torch.isfinite(merged(input_ids=tokens["input_ids"]).logits).all()
    about = json.loads((tmp_path / "out" / "merge.json").read_text())
    assert about["sha256"].keys() == load_file(tmp_path / "out" / "model.safetensors").keys()


def test_the_recipe_that_is_written_repeats_the_merge(models: dict[str, Path], tmp_path: Path) -> None:
    from luthier.merging.recipes.reading import read

    merge(models, tmp_path / "out")
    list(make(read(tmp_path / "out" / "merge.yaml"), tmp_path / "again", How()))
    first, again = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "again"))
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("after", [2, 17, 59])
def test_a_merge_that_was_killed_is_no_model_and_goes_on(models: dict[str, Path], tmp_path: Path, after: int) -> None:
    for name, path in models.items():
        (tmp_path / name).symlink_to(path)
    done = subprocess.run([sys.executable, "-c", KILLED, str(after), str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    here = {name: tmp_path / name for name in models}
    records = merge(here, tmp_path / "out")
    (begins,) = [record for record in records if record["event"] == "begins"]
    assert (begins["done"] > 0) == (after > 2)
    merge(here, tmp_path / "whole")
    first, whole = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "whole"))
    assert first == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "base", "out", "whole"]


def test_what_was_begun_of_other_models_is_not_gone_on_with(models: dict[str, Path], tmp_path: Path) -> None:
    for name, path in models.items():
        (tmp_path / name).symlink_to(path)
    subprocess.run([sys.executable, "-c", KILLED, "17", str(tmp_path)], check=False)
    os.utime(models["a"] / "model.safetensors")
    records = merge({name: tmp_path / name for name in models}, tmp_path / "out")
    assert [record["done"] for record in records if record["event"] == "begins"] == [0]


@pytest.mark.parametrize("call", ["pwrite", "posix_fallocate", "fsync"])
def test_a_full_disk_is_told_and_leaves_nothing(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        merge(models, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_lost_by_no_merge(models: dict[str, Path], tmp_path: Path) -> None:
    merge(models, tmp_path / "out")
    with pytest.raises(MergeError, match=r"exists; choose another output, or say --overwrite"):
        merge(models, tmp_path / "out")
    merge(models, tmp_path / "out", overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(MergeError, match=r"is no merge of Luthier's"):
        merge(models, tmp_path / "mine", overwrite=True)
    with pytest.raises(MergeError, match=r"holds .*, which is merged"):
        merge(models, models["a"], overwrite=True)


def test_two_merges_into_one_folder_do_not_meet(models: dict[str, Path], tmp_path: Path) -> None:
    first = make(ties(models), tmp_path / "out", How())
    assert next(first)["event"] == "planned"
    assert next(first)["event"] == "begins"
    with pytest.raises(RunError, match="in use"):
        merge(models, tmp_path / "out")
    list(first)
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_a_tensor_that_the_disk_changed_is_found(models: dict[str, Path], tmp_path: Path) -> None:
    from luthier.merging.checking import require_hashes

    merge(models, tmp_path / "out")
    hashes = json.loads((tmp_path / "out" / "merge.json").read_text())["sha256"]
    path = tmp_path / "out" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(MergeError, match="is not on the disk as it was merged"):
        require_hashes(tmp_path / "out", hashes)


def test_what_is_put_there_meanwhile_is_not_lost(models: dict[str, Path], tmp_path: Path) -> None:
    merging = make(ties(models), tmp_path / "out", How())
    next(merging), next(merging)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("all of it")
    with pytest.raises(MergeError, match="exists"):
        list(merging)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "all of it"


def test_a_template_that_is_none_is_told_before_anything_is_merged(models: dict[str, Path], tmp_path: Path) -> None:
    merging = make(replace(ties(models), chat_template="no-such"), tmp_path / "out", How())
    assert next(merging)["event"] == "planned"
    with pytest.raises(MergeError, match="no-such is no template"):
        next(merging)
    assert not list(tmp_path.iterdir())


def test_slices_without_layers_stack_whole_models(models: dict[str, Path], tmp_path: Path) -> None:
    text = f"merge: passthrough\nslices:\n  - models: [{models['a']}]\n  - models: [{models['b']}]\n"
    *_, checked = make(parse(text), tmp_path / "out", How())
    assert checked["loaded"]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_hidden_layers"] == 6
