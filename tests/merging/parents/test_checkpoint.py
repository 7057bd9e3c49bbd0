"""Tensors read in rows, and every kind of broken file refused by its name."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from luthier.errors import MergeError
from luthier.merging.parents.checkpoint import Folder

TENSORS = {
    "m": torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16),
    "v": torch.randn(5, generator=torch.Generator().manual_seed(1)),
    "s": torch.tensor(3.0, dtype=torch.float16),
    "t": torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64),
    "none": torch.zeros(0, 4),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "model.safetensors")
    return tmp_path


def test_rows_are_those_of_the_tensor(folder: Path) -> None:
    read = Folder(folder, "it")
    assert torch.equal(read.read("m", 2, 5), TENSORS["m"][2:5])
    assert torch.equal(read.read("t", 3, 99), TENSORS["t"][3:])
    assert all(torch.equal(read.read(name), tensor) for name, tensor in TENSORS.items())


def test_a_vector_comes_whole_whatever_rows_are_asked(folder: Path) -> None:
    assert torch.equal(Folder(folder, "it").read("v", 0, 1), TENSORS["v"])


def test_specs_are_known_without_the_numbers(folder: Path) -> None:
    specs = Folder(folder, "it").specs
    assert specs["m"].shape == (7, 3)
    assert specs["t"].bytes == 4 * 2 * 3 * 8


def test_a_file_that_was_cut_off_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MergeError, match="cut off"):
        Folder(folder, "it")


@pytest.mark.parametrize("content", [b"", b"\x05", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]", b"\x02\0\0\0\0\0\0\0{}x"[:9]])
def test_junk_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(MergeError, match=r"no safetensors file"):
        Folder(tmp_path, "it")


def test_a_header_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(MergeError, match="not as large"):
        Folder(tmp_path, "it")


def test_pickles_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(MergeError, match=r"pytorch_model.bin is a pickle.*save_pretrained"):
        Folder(tmp_path, "it")


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    listed = {"weight_map": {"w": "model-00001-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(listed))
    with pytest.raises(MergeError, match=r"model-00001-of-00002\.safetensors is missing"):
        Folder(tmp_path, "it")


def test_an_index_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    listed = {"weight_map": {"w": "../secret.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(listed))
    with pytest.raises(MergeError, match="outside"):
        Folder(tmp_path, "it")


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    files = {"a.safetensors": "w", "b.safetensors": "x"}
    for file in files:
        save_file({"w": torch.zeros(2)}, tmp_path / file)
    listed = {"weight_map": {name: file for file, name in files.items()}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(listed))
    with pytest.raises(MergeError, match=r"w is in a.safetensors and in b.safetensors"):
        Folder(tmp_path, "it")
