"""What a free worker is given, and that it is the same however often the search was stopped."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luthier.interrupt import Interrupted, Stop
from luthier.searching.samplers.grid import Grid
from luthier.searching.schedulers import End, Scheduler, Wait
from luthier.searching.schedulers.asha import Asha
from luthier.searching.schedulers.full import Full
from luthier.searching.schedulers.hyperband import Hyperband
from luthier.studying import database
from luthier.studying.database import url_of
from luthier.studying.entries import Entry
from luthier.studying.performing import PER_UNIT, Judged
from luthier.studying.spending import Budget
from luthier.studying.store import Store
from luthier.studying.taking import common_failure, hopeless, take
from luthier.studying.worker import work
from luthier.trials.history import Rung, Trial
from luthier.trials.space import Space
from tests.studying.fake import DEFAULT, Fake, plan, units_of


def made(folder: Path, scheduler: Scheduler | None = None, budget: Budget | None = None, seed: int = 0) -> Store:
    search = plan(scheduler or Asha(), seed=seed)
    return Store.create(url_of(None, folder), "search", search, budget or Budget(units=40))


def taken(store: Store, worker: str = "here/1") -> Entry:
    job = take(store, worker)
    assert isinstance(job, Entry)
    return job


def tell(
    store: Store,
    entry: Entry,
    value: float = -0.5,
    worker: str = "here/1",
    seconds: float | None = None,
    **facts: Any,
) -> None:
    with store.lock.held():
        rung = Rung(entry.trial.target, (value,), 100.0 * entry.trial.target if seconds is None else seconds)
        store.judged(entry.trial.number, worker, Judged(rung, facts))


def fail(store: Store, reason: str) -> None:
    entry = taken(store)
    with store.lock.held():
        store.failed(entry.trial.number, "here/1", reason)


def test_the_first_trial_is_the_recipe_as_it_stands(tmp_path: Path) -> None:
    store = made(tmp_path)
    assert taken(store).trial.values == DEFAULT
    second = taken(store, "here/2").trial
    assert second.values != DEFAULT
    assert store.plan.space.is_whole(second.values)


def test_what_was_cut_off_goes_on_first(tmp_path: Path) -> None:
    store = made(tmp_path)
    tell(store, taken(store))
    cut_off = taken(store)
    with store.lock.held():
        store.release(cut_off)
    assert taken(store, "here/2").trial == cut_off.trial


def test_nobody_works_beyond_the_budget(tmp_path: Path) -> None:
    store = made(tmp_path, Full(), Budget(units=18))
    first, second = taken(store), taken(store, "here/2")
    assert isinstance(take(store, "here/3"), Wait)
    tell(store, first)
    tell(store, second, worker="here/2")
    assert isinstance(take(store, "here/1"), End)


def test_seconds_become_units_when_the_first_trial_is_measured(tmp_path: Path) -> None:
    store = made(tmp_path, Full(), Budget(seconds=60, num_workers=2))
    first = taken(store)
    assert first.trial.target == 1
    assert isinstance(take(store, "here/2"), Wait)
    tell(store, first, **{PER_UNIT: 4.0})
    assert taken(store).trial.target == 9  # a full run, which it is by this scheduler
    assert store.budget == Budget(units=30, seconds=60, num_workers=2)
    assert taken(store, "here/2").trial.number == 1


def test_time_that_cheaper_trials_leave_is_spent_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = made(tmp_path, Full(), Budget(seconds=40, num_workers=2))
    tell(store, taken(store), **{PER_UNIT: 4.0}, seconds=4.0)
    tell(store, taken(store), seconds=36.0)
    assert store.budget.units == 20
    tell(store, taken(store), seconds=9.0)  # a quarter of the first one; (36 + 9) / 18 = 2.5 seconds a unit
    monkeypatch.setattr(Store, "duration", 30.0)
    assert isinstance(take(store, "here/1"), End)  # 10 seconds of two workers: 8 units
    assert store.budget.units == 20
    monkeypatch.setattr(Store, "duration", 22.0)
    assert taken(store).trial.number == 2
    assert store.budget == Budget(units=18 + 14, seconds=40, num_workers=2)


def test_a_space_that_is_used_up_takes_no_more_time(tmp_path: Path) -> None:
    space = Space.of({"training.warmup": {"choice": [0.0, 0.1]}})
    grid = replace(plan(Full()), space=space, sampler=Grid(), default=None)
    store = Store.create(url_of(None, tmp_path), "search", grid, Budget(seconds=1000))
    tell(store, taken(store), seconds=1.0, **{PER_UNIT: 1.0})
    for _ in range(2):
        tell(store, taken(store), seconds=9.0)
    assert isinstance(take(store, "here/1"), End)
    assert store.budget.units == 1000


def test_another_trial_is_measured_where_the_first_one_fails(tmp_path: Path) -> None:
    store = made(tmp_path, Asha(), Budget(seconds=5000))
    fail(store, "the loss is nan")
    second = taken(store)
    assert (second.trial.number, second.trial.target) == (1, 1)
    tell(store, second)
    assert taken(store).trial.number == 2
    assert store.budget.units == 50


def test_three_failures_alike_end_the_search_and_others_do_not(tmp_path: Path) -> None:
    store = made(tmp_path)
    for step in (3, 17, 2.5):
        assert common_failure(store.snapshot()) is None
        fail(store, f"step {step}: the loss is nan")
    assert common_failure(store.snapshot()) == "step 3: the loss is nan"
    assert isinstance(take(store, "here/1"), End)
    (tmp_path / "other").mkdir()
    store = made(tmp_path / "other")
    for reason in ("the loss is nan", "no memory left", "the loss is nan"):
        fail(store, reason)
    assert common_failure(store.snapshot()) is None


def test_the_checkpoints_of_failed_and_hopeless_trials_may_go(tmp_path: Path) -> None:
    store = made(tmp_path, Asha(), Budget(units=27))
    fail(store, "the loss is nan")
    for number in range(1, 11):
        entry = taken(store)
        tell(store, entry, -1 / (1 + number))
    history = store.snapshot().history
    expected = store.plan.scheduler.hopeless(history, store.plan.terms(27))
    assert hopeless(store, store.snapshot()) == {0} | expected
    assert expected


class Stopping(Fake):
    """Asks to stop at some of its units."""

    def __init__(self, folder: Path, stop: Stop, every: int) -> None:
        super().__init__(folder, stop)
        self._every = every

    def _note(self, name: str, line: str) -> None:
        super()._note(name, line)
        if name == "units.log" and len(units_of(self._folder)) % self._every == 0:
            self._stop.asked_by = signal.SIGTERM


def sequence(folder: Path) -> list[Trial]:
    return list(Store.open(url_of(None, folder), "search").snapshot().history.trials)


@pytest.mark.parametrize("scheduler", [Asha(), Hyperband(), Full()])
def test_one_seed_and_one_worker_give_one_sequence_however_often_it_is_stopped(
    scheduler: Scheduler, tmp_path: Path
) -> None:
    calm, stopped, other = (tmp_path / name for name in ("calm", "stopped", "other"))
    for folder in (calm, stopped, other):
        folder.mkdir()
    work(made(calm, scheduler), Fake(calm, Stop()), "here/1", Stop())
    made(stopped, scheduler)
    for life in range(100):
        store, stop = Store.open(url_of(None, stopped), "search"), Stop()
        try:
            work(store, Stopping(stopped, stop, every=4), f"here/{life}", stop)
        except Interrupted:
            continue
        if stop.asked_by is None:
            break
    assert life >= 5
    assert sequence(stopped) == sequence(calm)
    assert units_of(stopped) == units_of(calm)
    work(made(other, scheduler, seed=1), Fake(other, Stop()), "here/1", Stop())
    assert sequence(other) != sequence(calm)


def test_whatever_a_trial_raises_is_its_own_failure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fake.json").write_text('{"breaks": {"1": "nan", "2": "memory"}}')
    store = made(tmp_path)
    work(store, Fake(tmp_path, Stop()), "here/1", Stop())
    snapshot = store.snapshot()
    assert snapshot.reasons == {1: "step 1: the loss is nan", 2: "MemoryError: no memory left"}
    assert "Traceback" in capfd.readouterr().err
    assert {trial.state for trial in snapshot.history.trials} == {"paused", "done", "failed"}


def test_signs_of_life_are_given_while_a_trial_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "HEARTBEAT_S", 0.01)
    store, beats = made(tmp_path, budget=Budget(units=1)), list[int]()
    monkeypatch.setattr(store, "heartbeat", lambda entry: beats.append(entry.trial.number))

    class Slow(Fake):
        def perform(self, trial: Trial, until: int) -> Judged:
            while len(beats) < 3:
                pass
            return super().perform(trial, until)

    work(store, Slow(tmp_path, Stop()), "here/1", Stop())
    assert set(beats) == {0}


def test_what_a_worker_found_of_a_trial_that_it_lost_does_not_count(tmp_path: Path) -> None:
    store, again = made(tmp_path, budget=Budget(units=1)), made(tmp_path)

    class Robbed(Fake):
        def perform(self, trial: Trial, until: int) -> Judged:
            judged = super().perform(trial, until)
            if not again.snapshot().entries[0].worker.startswith("there"):
                with again.lock.held():
                    again.release(again.snapshot().entries[0])
                taken(again, "there/1")
                again.close()
                tell(store, store.snapshot().entries[0], -0.25, worker="there/1")
            return judged

    work(store, Robbed(tmp_path, Stop()), "here/1", Stop())
    assert [rung.values for rung in store.snapshot().entries[0].trial.rungs] == [(-0.25,)]
