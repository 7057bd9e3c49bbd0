"""Checkpoints on disk: the newest one that proves itself is used."""

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from luthier.errors import RunError
from luthier.training import checkpoints as module
from luthier.training import snapshot
from luthier.training.checkpoints import Checkpoints
from luthier.training.snapshot import _arrays
from tests.training.saver import arrays

FILES = ("MANIFEST.json", "state.json", "learnt.safetensors", "optimizer.safetensors")


def store(folder: Path, keep: int = 2, run: str = "this run") -> Checkpoints:
    return Checkpoints(folder, {"id": run}, keep)


def save(folder: Path, *steps: int, **given: Any) -> None:
    for step in steps:
        store(folder, **given).save(step, arrays(step), {"step": step})


def newest_step(folder: Path, **given: Any) -> int | None:
    found, _ = store(folder, **given).newest()
    return found and found.step


def test_tensors_of_every_type_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {
        str(dtype): torch.arange(-3, 4).to(dtype).reshape(7, 1) if dtype != torch.bool else torch.tensor([True, False])
        for dtype in snapshot.DTYPES
    }
    tensors |= {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 3), "strided": torch.arange(6.0).reshape(2, 3).T}
    store(tmp_path).save(1, {"learnt": _arrays(tensors)}, {})
    back = load_file(tmp_path / "step-1" / "learnt.safetensors")
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in tensors.items())


def test_files_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "step-1").iterdir()}
    assert modes == {stat.S_IMODE((tmp_path / "plain").stat().st_mode)}


def test_the_order_is_the_steps_and_not_the_files_times(tmp_path: Path) -> None:
    save(tmp_path, 9, 10)
    for path in (tmp_path / "step-9").iterdir():
        os.utime(path, (2**31, 2**31))
    assert newest_step(tmp_path) == 10


def test_the_manifest_says_whose_it_is_and_what_is_in_it(tmp_path: Path) -> None:
    save(tmp_path, 3)
    manifest = json.loads((tmp_path / "step-3" / "MANIFEST.json").read_text())
    assert (manifest["id"], manifest["step"]) == ("this run", 3)
    assert manifest["files"].keys() == {*FILES} - {"MANIFEST.json"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99, None])
def test_a_file_that_is_cut_or_gone_is_found(name: str, share: float | None, tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    path = tmp_path / "step-2" / name
    if share is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    found, faults = store(tmp_path).newest()
    (fault,) = faults
    assert found is not None
    assert found.step == 1
    assert fault.startswith("checkpoint step-2 is not used: ")
    assert name in fault


@pytest.mark.parametrize("name", FILES)
def test_a_bit_that_flipped_is_found_wherever_it_is(name: str, tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    path = tmp_path / "step-2" / name
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        flipped = bytearray(whole)
        flipped[place] ^= 4
        path.write_bytes(flipped)
        harmless = name == "MANIFEST.json" and json_or_none(flipped) == json.loads(whole)
        assert newest_step(tmp_path) == (2 if harmless else 1), place


def json_or_none(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def test_another_runs_checkpoint_is_neither_used_nor_kept(tmp_path: Path) -> None:
    save(tmp_path, 20, run="an older run")
    assert newest_step(tmp_path) is None
    save(tmp_path, 5)
    assert newest_step(tmp_path) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["step-5"]


def test_a_copied_or_renamed_checkpoint_is_not_taken_for_another_step(tmp_path: Path) -> None:
    save(tmp_path, 1)
    shutil.copytree(tmp_path / "step-1", tmp_path / "step-7")
    assert newest_step(tmp_path) == 1


def test_what_an_interrupted_save_left_is_removed(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / ".writing-step-2").mkdir()
    (tmp_path / ".discarded-step-0").mkdir()
    store(tmp_path).tidy()
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def test_without_room_it_is_said_before_a_byte_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(RunError, match=r"disk has 0 MiB left; make room.*step-1 is whole"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
