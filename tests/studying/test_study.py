"""A coordinator and its worker processes: what they tell, how they are stopped, what is refused."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from luthier.errors import RunError
from luthier.interrupt import Interrupted, Stop
from luthier.run import Record
from luthier.searching.schedulers.full import Full
from luthier.studying.database import url_of
from luthier.studying.spending import Budget
from luthier.studying.standing import Standing
from luthier.studying.store import Store
from luthier.studying.study import Search, follow
from tests.studying.fake import plan, units_of
from tests.studying.server import Server


def search_in(folder: Path, *, units: int = 13, told: dict[str, Any] | None = None, **settings: Any) -> Search:
    folder.mkdir(exist_ok=True)
    (folder / "fake.json").write_text(json.dumps(told or {}))
    how = {"budget": Budget(units=units), "performer": "tests.studying.fake:Fake", "plan": plan(), **settings}
    return Search(folder, **how)


def events(records: list[Record], *names: str) -> list[Record]:
    return [record for record in records if record["event"] in names]


def told(records: Iterator[Record]) -> list[Record]:
    return list(records)


def stopped_when_judged(search: Search, stop: Stop) -> None:
    for record in follow(search, stop=stop):
        if record["event"] == "judged":
            stop.asked_by = signal.SIGINT


def test_a_search_tells_what_happens_and_ends_with_all_of_it(tmp_path: Path) -> None:
    records = told(follow(search_in(tmp_path / "a", num_workers=2)))
    trials = records[-1]["standing"].history.trials
    assert [record["trial"] for record in events(records, "began")] == [trial.number for trial in trials]
    judged = [(record["trial"], record["rung"]) for record in events(records, "judged")]
    assert sorted(judged, key=str) == sorted(((t.number, rung) for t in trials for rung in t.rungs), key=str)
    assert events(records, "budget") == [{"event": "budget", "units": 13, "horizon": 9}]
    standing = records[-1]["standing"]
    assert isinstance(standing, Standing)
    assert {(arrival.number, arrival.resource) for arrival in standing.course} == {
        (number, rung.resource) for number, rung in judged
    }
    assert standing.duration_s > 0
    assert records[-1]["event"] == "ended"
    again = told(follow(search_in(tmp_path / "a"), resume=True))
    assert again[-1]["standing"].history == standing.history
    assert not events(again, "worker-lost")


def test_a_second_coordinator_on_the_folder_is_refused_and_a_begun_search_is_not_overwritten(tmp_path: Path) -> None:
    search = search_in(tmp_path / "a", told={"unit_s": 0.02})
    first = follow(search)
    next(first)
    with pytest.raises(RunError, match="is in use by process"):
        next(follow(search, resume=True))
    first.close()
    with pytest.raises(RunError, match="holds a search; say --resume to go on, --overwrite to begin anew"):
        next(follow(search))
    with pytest.raises(RunError, match="the search search was begun otherwise: seed: was 0, is 1"):
        next(follow(search_in(tmp_path / "a", plan=plan(seed=1)), resume=True))
    records = told(follow(search_in(tmp_path / "a", units=1, plan=plan(seed=1)), overwrite=True))
    assert len(records[-1]["standing"].history.trials) == 1


def test_a_stopped_search_keeps_its_state_and_goes_on_as_if_nothing_was(tmp_path: Path) -> None:
    calm = told(follow(search_in(tmp_path / "calm", units=20)))
    search, stop = search_in(tmp_path / "stopped", units=20, told={"unit_s": 0.05}), Stop()
    with pytest.raises(Interrupted, match="stopped by SIGINT; go on with the same command and --resume") as caught:
        stopped_when_judged(search, stop)
    assert caught.value.exit_code == 130
    kept = Store.open(url_of(None, search.folder), "search").snapshot().history.trials
    assert {trial.state for trial in kept} <= {"paused", "done"}
    resumed = told(follow(search_in(tmp_path / "stopped", units=20), resume=True))
    assert resumed[-1]["standing"].history == calm[-1]["standing"].history
    assert units_of(search.folder) == units_of(tmp_path / "calm")


def test_a_second_signal_kills_workers_that_are_in_the_middle_of_a_step(tmp_path: Path) -> None:
    search, stop = search_in(tmp_path / "a", told={"unit_s": 3600}), Stop()
    with stop.listening(), pytest.raises(Interrupted, match="stopped by SIGTERM"):
        signalled_twice(search, stop)
    trial = Store.open(url_of(None, search.folder), "search").snapshot().history.trials[0]
    assert (trial.state, trial.resource, trial.target) == ("paused", 0, 1)


def signalled_twice(search: Search, stop: Stop) -> None:
    for record in follow(search, stop=stop):
        if record["event"] == "began":
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()


def test_a_raised_budget_goes_on_from_where_the_search_ended(tmp_path: Path) -> None:
    told(follow(search_in(tmp_path / "a", plan=plan(Full()), units=9)))
    more = told(follow(search_in(tmp_path / "a", plan=plan(Full()), units=27), resume=True))
    assert [trial.target for trial in more[-1]["standing"].history.trials] == [9, 9, 9]
    assert len(units_of(tmp_path / "a")) == 27


def test_a_trial_that_kills_its_worker_twice_fails_and_the_search_goes_on(tmp_path: Path) -> None:
    records = told(follow(search_in(tmp_path / "a", units=20, told={"breaks": {"1": "kill"}})))
    lost = events(records, "worker-lost")
    assert [record["reason"] for record in lost] == ["killed by SIGKILL"] * 2
    assert events(records, "failed") == [
        {"event": "failed", "trial": 1, "reason": "killed its worker 2 times, perhaps out of memory"}
    ]
    assert len(events(records, "began")) > 3


def test_trials_that_all_fail_alike_end_the_search_with_their_reason(tmp_path: Path) -> None:
    search = search_in(tmp_path / "a", told={"breaks": {"all": "nan"}})
    with pytest.raises(
        RunError, match="the first trials all failed alike, so the search ends: step 0: the loss is nan"
    ):
        told(follow(search))


def test_a_worker_that_cannot_begin_ends_the_search_with_its_reason(tmp_path: Path) -> None:
    search = search_in(tmp_path / "a", performer="tests.studying.fake:broken")
    with pytest.raises(RunError, match=r"^a: its model cannot be loaded$"):
        told(follow(search))
    search = search_in(tmp_path / "a", performer="tests.studying.fake:missing", most_deaths=1)
    with pytest.raises(RunError, match=r"no worker can work: ended with 1: AttributeError.*\(see .*\.log\)"):
        told(follow(search, resume=True))


def test_time_that_is_over_ends_the_search_and_no_more_begins(tmp_path: Path) -> None:
    search = search_in(tmp_path / "a", told={"unit_s": 0.02}, budget=Budget(units=10**6, seconds=0.5))
    records = told(follow(search))
    assert events(records, "time-over") == [{"event": "time-over", "seconds": 0.5}]
    assert not records[-1]["standing"].history.is_running
    again = told(follow(search, resume=True))
    assert not events(again, "began", "promoted", "resumed")


def test_two_folders_share_a_search_on_a_server(postgres: Server, tmp_path: Path) -> None:
    storage = postgres.schema("shared")
    ours, theirs = (
        follow(search_in(tmp_path / name, units=40, told={"unit_s": 0.05}, storage=storage)) for name in ("a", "b")
    )
    last = {}
    going = [ours, theirs]
    while going:
        for each in tuple(going):
            record = next(each, None)
            if record is None:
                going.remove(each)
            else:
                last[each] = record
    history = last[ours]["standing"].history
    assert history == last[theirs]["standing"].history
    assert 40 - 9 < history.committed <= 40
    assert all(trial.resource == trial.target for trial in history.trials)
    computed = [units_of(tmp_path / name) for name in ("a", "b")]
    assert min(map(len, computed)) > 0
    assert set(computed[0]) | set(computed[1]) == {
        (trial.number, unit) for trial in history.trials for unit in range(1, trial.target + 1)
    }


def test_what_a_dead_machine_left_is_taken_by_another_one(postgres: Server, tmp_path: Path) -> None:
    storage = postgres.schema("left_behind")
    store = Store.create(url_of(storage, tmp_path), "search", plan(), Budget(units=5))
    with store.lock.held():
        store.begin({"training.learning_rate": 1e-4, "method": "head", "training.warmup": 0.0}, 1, 0, "gone/1")
    with store._storage.engine.begin() as connection:
        connection.execute(text("UPDATE trial_heartbeats SET heartbeat = heartbeat - INTERVAL '1 hour'"))
    records = told(follow(search_in(tmp_path / "a", units=5, storage=storage)))
    assert units_of(tmp_path / "a")[0] == (0, 1)
    assert all(trial.resource == trial.target for trial in records[-1]["standing"].history.trials)
