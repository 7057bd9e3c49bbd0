"""Files whose places are known before: what safetensors reads, what a kill leaves, what a full disk says."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from luthier.files import JOURNAL
from luthier.merging.parents.checkpoint import Folder, Spec
from luthier.merging.shards import Shards

TENSORS = {
    "b.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "a.weight": torch.arange(6).reshape(2, 3).to(torch.bfloat16),
    "step": torch.tensor(7),
    "empty": torch.zeros(0, 5),
    "flags": torch.tensor([True, False, True]),
}
SPECS = {name: Spec(tuple(tensor.shape), tensor.dtype) for name, tensor in TENSORS.items()}


def write(shards: Shards, name: str) -> None:
    numbers = shards.write(name, 0, TENSORS[name])
    shards.is_done(name, hashlib.sha256(numbers).hexdigest())


def shards_in(folder: Path, *, plan: str = "plan", shard_bytes: int = 10**9) -> Shards:
    return Shards(folder, SPECS, shard_bytes=shard_bytes, plan=plan)


@pytest.mark.parametrize("shard_bytes", [10**9, 20])
def test_safetensors_reads_what_was_written_in_any_order(tmp_path: Path, shard_bytes: int) -> None:
    shards = shards_in(tmp_path, shard_bytes=shard_bytes)
    for name in reversed(TENSORS):
        write(shards, name)
    shards.finish()
    read = {name: tensor for file in tmp_path.glob("*.safetensors") for name, tensor in load_file(file).items()}
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], TENSORS[name]) for name in TENSORS)
    ours = Folder(tmp_path, "ours")
    assert all(torch.equal(ours.read(name), TENSORS[name]) for name in TENSORS)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard_bytes == 20)


def test_rows_are_written_where_they_belong(tmp_path: Path) -> None:
    shards = shards_in(tmp_path)
    shards.write("b.weight", 8, TENSORS["b.weight"][2:])
    shards.write("b.weight", 0, TENSORS["b.weight"][:2])
    shards.close()
    assert torch.equal(load_file(tmp_path / "model.safetensors")["b.weight"], TENSORS["b.weight"])


def test_what_is_journalled_and_sound_is_not_made_again(tmp_path: Path) -> None:
    first = shards_in(tmp_path)
    write(first, "a.weight")
    write(first, "b.weight")
    first.close()
    place = first.places["a.weight"]
    with (tmp_path / place.file).open("r+b") as file:  # the disk forgot a byte of it
        file.seek(place.offset)
        file.write(b"\xff")
    again = shards_in(tmp_path)
    assert again.hashes.keys() == {"b.weight"}
    again.close()


def test_a_line_that_was_cut_off_ends_the_journal(tmp_path: Path) -> None:
    first = shards_in(tmp_path)
    write(first, "b.weight")
    first.close()
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"name": "a.wei')
    again = shards_in(tmp_path)
    assert again.hashes.keys() == {"b.weight"}
    again.close()


def test_another_plan_begins_anew(tmp_path: Path) -> None:
    first = shards_in(tmp_path)
    write(first, "b.weight")
    first.close()
    again = shards_in(tmp_path, plan="another")
    assert not again.hashes
    again.close()


def test_numbers_of_every_type_are_aligned_to_their_size(tmp_path: Path) -> None:
    shards = shards_in(tmp_path)
    assert all(place.offset % place.spec.dtype.itemsize == 0 for place in shards.places.values())
    shards.close()


def test_other_sizes_of_files_begin_anew_and_leave_nothing_of_the_old_ones(tmp_path: Path) -> None:
    first = shards_in(tmp_path, shard_bytes=20)
    write(first, "b.weight")
    first.close()
    again = shards_in(tmp_path)
    assert not again.hashes
    assert sorted(path.name for path in tmp_path.iterdir()) == [JOURNAL, "model.safetensors"]
    again.close()
