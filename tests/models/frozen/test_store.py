"""States of rows are found again as they were kept, within a budget; what is half written is never believed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from luthier.models.frozen.rows import row_keys
from luthier.models.frozen.store import ABANDONED_S, Disk, Memory, States, Store, cache_folder

MIB = 2**20


def states(number: int, *, width: int = 8) -> States:
    random = torch.Generator().manual_seed(number)
    tokens = torch.randn(number + 1, width, generator=random)
    return tokens.to(torch.bfloat16), torch.randn(width, generator=random)


def filled(store: Store, numbers: range) -> Store:
    for number in numbers:
        store.add(f"row {number}", states(number))
    return store


def assert_holds(store: Store, numbers: range) -> None:
    for number in numbers:
        for found, expected in zip(store[f"row {number}"], states(number), strict=True):
            assert found.dtype == expected.dtype
            assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_states_are_found_as_they_were_kept(kind: str, tmp_path: Path) -> None:
    store: Store = Memory(MIB) if kind == "memory" else Disk(tmp_path / "one", MIB)
    filled(store, range(4))
    assert_holds(store, range(4))
    filled(store, range(9))  # read and written in turns
    assert_holds(store, range(9))
    assert "row 9" not in store
    assert store.num_bytes == sum(each.nbytes for number in range(9) for each in states(number))


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_what_does_not_fit_the_budget_is_not_kept(kind: str, tmp_path: Path) -> None:
    budget = sum(each.nbytes for number in range(3) for each in states(number))
    store: Store = Memory(budget) if kind == "memory" else Disk(tmp_path / "one", budget)
    filled(store, range(3))
    assert not store.is_full
    filled(store, range(5))
    assert store.is_full
    assert "row 3" not in store
    assert_holds(store, range(3))


def test_another_run_finds_them_and_adds_its_own(tmp_path: Path) -> None:
    filled(Disk(tmp_path / "one", MIB), range(3)).close()
    second = Disk(tmp_path / "one", MIB)
    assert_holds(second, range(3))
    filled(second, range(6)).close()
    assert_holds(Disk(tmp_path / "one", MIB), range(6))


def test_two_runs_at_once_both_keep_theirs(tmp_path: Path) -> None:
    one, other = Disk(tmp_path / "one", MIB), Disk(tmp_path / "one", MIB)
    filled(one, range(2)).close()
    filled(other, range(2, 4)).close()
    assert_holds(Disk(tmp_path / "one", MIB), range(4))


def test_what_a_killed_run_left_is_not_believed_and_goes_in_time(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from luthier.models.frozen.store import Disk;"
        "from tests.models.frozen.test_store import filled, MIB;"
        "filled(Disk(Path(sys.argv[1]), MIB), range(3)); print('written', flush=True); time.sleep(600)"
    )
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "one")], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "written\n"
    run.send_signal(signal.SIGKILL)
    run.communicate()
    left = [path for path in (tmp_path / "one").iterdir() if path.is_dir()]
    store = Disk(tmp_path / "one", MIB)
    assert len(left) == 1
    assert "row 0" not in store
    assert left[0].exists()  # it might be another run's that goes on
    long_ago = time.time() - 2 * ABANDONED_S
    os.utime(left[0], (long_ago, long_ago))
    Disk(tmp_path / "one", MIB)
    assert not left[0].exists()


@pytest.mark.parametrize(
    ("name", "content"), [("rows.json", b"{no json"), ("rows.json", b"[]"), ("states.bin", b"cut")]
)
def test_a_damaged_volume_is_as_if_it_had_never_been(tmp_path: Path, name: str, content: bytes) -> None:
    filled(Disk(tmp_path / "one", MIB), range(3)).close()
    (file,) = tmp_path.glob(f"one/*/{name}")
    file.write_bytes(content)
    store = filled(Disk(tmp_path / "one", MIB), range(3))
    assert_holds(store, range(3))


def test_what_was_used_the_longest_ago_makes_room(tmp_path: Path) -> None:
    size = sum(each.nbytes for number in range(9) for each in states(number))
    for age, name in enumerate(("new", "old", "oldest")):
        filled(Disk(tmp_path / name, 10 * size), range(9)).close()
        used = time.time() - 1000 * age
        os.utime(tmp_path / name / "used", (used, used))
    Disk(tmp_path / "old", 2 * size)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_a_full_disk_ends_the_keeping_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Disk(tmp_path / "one", MIB)

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", refuse)
    filled(store, range(2))
    assert store.is_full
    assert "row 0" not in store
    store.close()


@pytest.mark.parametrize(
    ("said", "folder"),
    [
        ({"LUTHIER_CACHE": "/a"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/luthier/frozen")),
        ({}, Path.home() / ".cache" / "luthier" / "frozen"),
    ],
)
def test_the_folder_is_where_caches_are(said: dict[str, str], folder: Path) -> None:
    assert cache_folder(said) == folder


def test_keys_are_those_of_the_content() -> None:
    one = {"input_ids": [[1, 2], [1, 2], [1, 3]], "row": [0, 1, 2], "cut": [True, False, False]}
    first, same, other = row_keys(one)
    assert first == same != other
    assert row_keys({"input_ids": [[1, 2]]}) == (first,)
    assert row_keys({"input_ids": [[1, 2]], "target": [1]}) != (first,)
