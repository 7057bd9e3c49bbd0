"""Workers of one machine share its cores, unless a user says how; what a machine lacks is no trial's fault."""

import json
import os
import signal
from pathlib import Path

import pytest

from luthier.interrupt import Stop
from luthier.studying.spending import Budget
from luthier.studying.store import Store
from luthier.studying.worker import _share_cores, work
from tests.studying.fake import Fake, plan

NUM_CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("num_workers", "said", "expected"),
    [(1, None, None), (2, None, str(max(1, NUM_CORES // 2))), (1000, None, "1"), (2, "7", "7")],
)
def test_cores_are_shared_among_workers(
    num_workers: int, said: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {} if said is None else {"OMP_NUM_THREADS": said}
    monkeypatch.setattr(os, "environ", environment)
    _share_cores(num_workers)
    assert environment.get("OMP_NUM_THREADS") == expected


def test_a_full_disk_ends_the_worker_and_its_trial_goes_on_later(tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text(json.dumps({"breaks": {"1": "disk"}}))
    store = Store.create(f"sqlite:///{tmp_path / 'search.db'}", "search", plan(), Budget(units=18))
    with pytest.raises(OSError, match="No space left"):
        work(store, Fake(tmp_path, Stop()), "here/1", Stop())
    assert [trial.state for trial in store.snapshot().history.trials] == ["paused", "paused"]
    (tmp_path / "fake.json").unlink()
    work(store, Fake(tmp_path, Stop()), "here/1", Stop())
    assert "failed" not in {trial.state for trial in store.snapshot().history.trials}


def test_a_course_inside_a_worker_leaves_signals_to_the_worker() -> None:
    stop = Stop()
    with stop.waits_for_border():
        with stop.waits_for_border():
            pass
        stop.handle(signal.SIGTERM, None)
    assert stop.asked_by == signal.SIGTERM
