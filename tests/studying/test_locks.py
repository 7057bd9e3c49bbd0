"""The lock of whoever decides: one holds it, and nobody takes what another one has."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from luthier.errors import RunError
from luthier.studying.database import Database, url_of
from luthier.studying.locks import FileLock
from luthier.studying.store import Store
from tests.studying.claiming import NUM_UNITS

HOLD = """
import sys
from pathlib import Path
from luthier.studying.database import Database, url_of
with Database(url_of(sys.argv[1], Path()), "search", may_create=True).lock.held():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_holder_lets_go_of_it(storage: str) -> None:
    lock = Database(url_of(storage, Path()), "search", may_create=True).lock
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, storage], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
        with lock.held():
            assert lock.is_held
    assert not lock.is_held


def test_it_is_let_go_of_after_an_error_and_not_taken_twice(storage: str) -> None:
    lock = Database(url_of(storage, Path()), "search", may_create=True).lock
    with pytest.raises(KeyError), lock.held():
        raise KeyError
    with lock.held(), pytest.raises(AssertionError, match="not taken twice"), lock.held():
        pass
    with lock.held():
        pass


def test_a_place_without_locks_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be locked"), FileLock(tmp_path / "none" / "lock").held():
        pass


def test_four_processes_never_take_the_same_trial(storage: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.studying.claiming", storage, str(tmp_path), "4"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    took = [
        tuple(map(int, line.split()))
        for file in sorted(tmp_path.glob("took-*"))
        for line in file.read_text().splitlines()
    ]
    assert max(Counter(took).values()) == 1
    history = Store.open(url_of(storage, Path()), "search").snapshot().history
    assert sorted(took) == sorted((trial.number, rung.resource) for trial in history.trials for rung in trial.rungs)
    assert [trial.number for trial in history.trials] == list(range(len(history.trials)))
    assert NUM_UNITS - 9 < history.committed <= NUM_UNITS
