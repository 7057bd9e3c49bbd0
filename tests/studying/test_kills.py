"""Searches whose coordinator and workers are killed with SIGKILL at random moments, and end as calm ones do."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from luthier.studying.database import url_of
from luthier.studying.store import Store
from luthier.trials.history import Trial
from tests.studying.fake import score, step, units_of

NUM_KILLS = 24
FEWEST_KILLS = 20
"""On a machine that is busy elsewhere the search may end before the last kills."""
LONGEST_STRETCH = 6
"""From the second rung, at 3 units, to the last one, at 9."""


def driven(folder: Path, storage: str, *, num_workers: int = 2, num_kills: int = 0) -> dict[str, int]:
    numbers = (str(number) for number in (num_workers, num_kills, 0))
    command = [sys.executable, "-m", "tests.studying.driver", str(folder), storage, *numbers]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    killed: dict[str, int] = json.loads(done.stdout)
    return killed


def trials(folder: Path, storage: str) -> tuple[Trial, ...]:
    return Store.open(url_of(storage, folder), "search").snapshot().history.trials


def weight(trial: Trial, until: int) -> float:
    """What an undisturbed training comes to."""
    found = 0.0
    for unit in range(1, until + 1):
        found = step(found, unit, trial)
    return found


def test_a_search_that_is_killed_at_random_moments_ends_as_a_calm_one(storage: str, tmp_path: Path) -> None:
    folder, calm = tmp_path / "killed", tmp_path / "calm"
    killed = driven(folder, storage, num_kills=NUM_KILLS)
    assert killed["coordinator"] + killed["worker"] >= FEWEST_KILLS
    assert min(killed.values()) >= 2
    ended = trials(folder, storage)
    assert not (folder / "doubled.log").exists()
    assert {trial.state for trial in ended} == {"paused", "done"}
    assert all(trial.resource == trial.target for trial in ended)
    for trial in ended:
        for rung in trial.rungs:
            assert rung.values[0] == -score(weight(trial, rung.resource), trial)
    computed = Counter(units_of(folder))
    assert set(computed) == {(trial.number, unit) for trial in ended for unit in range(1, trial.target + 1)}
    assert computed.total() - len(computed) <= NUM_KILLS * LONGEST_STRETCH
    calm_storage = f"sqlite:///{tmp_path / 'calm.db'}"
    driven(calm, calm_storage)
    undisturbed = trials(calm, calm_storage)
    assert sum(trial.committed for trial in ended) == sum(trial.committed for trial in undisturbed)
    assert len(ended) == len(undisturbed)
    assert max(Counter(units_of(calm)).values()) == 1


def test_with_one_worker_kills_leave_the_sequence_of_trials_as_it_is(tmp_path: Path) -> None:
    found = []
    for name, num_kills in {"calm": 0, "killed": 8}.items():
        storage = f"sqlite:///{tmp_path / name}.db"
        driven(tmp_path / name, storage, num_workers=1, num_kills=num_kills)
        found.append(trials(tmp_path / name, storage))
    assert found[0] == found[1]
