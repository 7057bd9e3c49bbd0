"""The store: what is written is read again, by us and by Optuna; what a kill leaves is put right."""

import json
import math
from pathlib import Path

import optuna
import pytest

from luthier.errors import RunError
from luthier.studying.database import url_of
from luthier.studying.entries import Entry
from luthier.studying.performing import Judged
from luthier.studying.plan import Plan, differences
from luthier.studying.standing import Goal
from luthier.studying.store import ENTRY, FORMAT, Budget, Lost, Store
from luthier.trials.history import Rung, Trial
from tests.studying.fake import DEFAULT, plan

HEAD = {"training.learning_rate": 0.002, "method": "head", "training.warmup": 0.25}


def made(storage: str, search: Plan | None = None, name: str = "search") -> Store:
    return Store.create(url_of(storage, Path()), name, search or plan(), Budget(units=27))


def begun(store: Store, values: dict[str, float | int | str] = HEAD, until: int = 1) -> Entry:
    with store.lock.held():
        return store.begin(values, until, 2, "here/1")


def judged(store: Store, number: int, resource: int, value: float, worker: str = "here/1") -> None:
    with store.lock.held():
        store.judged(number, worker, Judged(Rung(resource, (-value,), 2.5 * resource, (-0.5,)), {"step": 7}))


def test_a_trial_is_read_as_it_was_written(storage: str) -> None:
    store = made(storage)
    first = begun(store)
    assert first.trial == Trial(0, HEAD, "running", 1, 2)
    judged(store, 0, 1, 0.1 + 0.2)
    entry = made(storage).snapshot().entries[0]
    assert entry.trial == Trial(0, HEAD, "paused", 1, 2, (Rung(1, (-(0.1 + 0.2),), 2.5, (-0.5,)),))
    assert entry.worker == "here/1"
    assert entry.landings[0].facts == {"step": 7}


def test_a_claim_raises_the_target_and_is_given_once(storage: str) -> None:
    store, other = made(storage), made(storage)
    begun(store)
    judged(store, 0, 1, 0.5)
    entry = other.snapshot().entries[0]
    with store.lock.held():
        taken = store.claim(entry, 3, "here/2")
    assert taken is not None
    assert taken.trial == other.snapshot().entries[0].trial
    assert (taken.trial.state, taken.trial.target) == ("running", 3)
    with other.lock.held():
        assert other.claim(entry, 3, "there/1") is None


def test_a_trial_at_the_horizon_is_done_and_has_the_score_that_people_know(storage: str) -> None:
    store = made(storage)
    begun(store, until=9)
    judged(store, 0, 9, 0.75)
    assert store.snapshot().entries[0].trial.state == "done"
    study = optuna.load_study(study_name="search", storage=url_of(storage, Path()))
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.best_value == 0.75
    assert study.best_trial.intermediate_values == {9: 0.75}


def test_optuna_reads_the_parameters_that_apply_and_computes_their_importance(storage: str) -> None:
    store = made(storage)
    for number in range(12):
        rate, warmup = 1e-5 * 1.7**number, (number * 5 % 12) / 24
        begun(store, {"training.learning_rate": rate, "method": "head", "training.warmup": warmup}, until=9)
        judged(store, number, 9, math.log(rate))
    begun(store, {**DEFAULT, "training.warmup": 0.125})
    study = optuna.load_study(study_name="search", storage=url_of(storage, Path()))
    assert [trial.params for trial in study.trials] == [entry.trial.values for entry in store.snapshot().entries]
    rank = study.trials[-1].distributions["method=lora:method.rank"]
    assert rank == optuna.distributions.IntDistribution(1, 64)
    importances = optuna.importance.get_param_importances(study)
    assert importances["training.learning_rate"] > 2 * importances["training.warmup"]


def test_values_outside_the_space_are_kept_and_optuna_is_told_the_others(storage: str) -> None:
    store = made(storage)
    begun(store, {**DEFAULT, "training.learning_rate": 0.5})
    study = optuna.load_study(study_name="search", storage=url_of(storage, Path()))
    assert study.trials[0].params == {"method": "lora", "method=lora:method.rank": 8}
    assert store.snapshot().entries[0].trial.values["training.learning_rate"] == 0.5


def test_several_objectives_each_keep_their_direction(storage: str) -> None:
    goals = (Goal("accuracy", True), Goal("seconds", False))
    search = Plan(plan().space, goals, plan().sampler, plan().scheduler, horizon=9, eta=3)
    store = made(storage, search)
    begun(store, until=9)
    with store.lock.held():
        store.judged(0, "here/1", Judged(Rung(9, (-0.8, 30.0), 30.0)))
    assert store.snapshot().entries[0].trial.rungs[0].values == (-0.8, 30.0)
    study = optuna.load_study(study_name="search", storage=url_of(storage, Path()))
    assert study.best_trials[0].values == [0.8, 30.0]


def test_a_failed_trial_keeps_its_reason_and_its_rungs(storage: str) -> None:
    store = made(storage)
    begun(store)
    judged(store, 0, 1, 0.5)
    with store.lock.held():
        store.claim(store.snapshot().entries[0], 3, "here/2")
        store.failed(0, "here/2", "the loss is nan")
    snapshot = store.snapshot()
    assert snapshot.reasons == {0: "the loss is nan"}
    assert (snapshot.entries[0].trial.state, snapshot.entries[0].trial.resource) == ("failed", 1)


def test_a_released_trial_goes_on_and_its_worker_is_not_heard_any_more(storage: str) -> None:
    store = made(storage)
    begun(store, until=3)
    with store.lock.held():
        store.release(store.snapshot().entries[0])
    trial = store.snapshot().entries[0].trial
    assert (trial.state, trial.target, trial.resource) == ("paused", 3, 0)
    with pytest.raises(Lost):
        judged(store, 0, 3, 0.5)
    with store.lock.held():
        store.claim(store.snapshot().entries[0], 3, "here/2")
    with pytest.raises(Lost), store.lock.held():
        store.failed(0, "here/1", "late")
    assert store.snapshot().entries[0].trial.state == "running"


def test_a_trial_killed_between_its_rung_and_its_state_is_put_where_its_rung_says(storage: str) -> None:
    store = made(storage)
    entry = begun(store, until=9)
    rung = Rung(9, (-0.75,), 1.0)
    told = {**entry.written(store.plan.goals), "rungs": [{**vars(rung), "values": [0.75], "at": 0.0, "facts": {}}]}
    store._storage.set_trial_user_attr(entry.id, ENTRY, json.loads(json.dumps(told)))
    with store.lock.held():
        store.release(store.snapshot().entries[0])
    assert store.snapshot().entries[0].trial.state == "done"
    assert optuna.load_study(study_name="search", storage=url_of(storage, Path())).best_value == 0.75


def test_a_claim_that_was_cut_off_leaves_a_trial_that_goes_on(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = made(storage)
    begun(store)
    judged(store, 0, 1, 0.5)
    monkeypatch.setattr(store._storage, "set_trial_state_values", cut_off)
    with pytest.raises(KeyboardInterrupt), store.lock.held():
        store.claim(store.snapshot().entries[0], 3, "here/2")
    trial = made(storage).snapshot().entries[0].trial
    assert (trial.state, trial.target, trial.resource) == ("paused", 3, 1)


def test_a_failure_that_was_cut_off_is_one(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = made(storage)
    begun(store)
    monkeypatch.setattr(store._storage, "set_trial_state_values", cut_off)
    with pytest.raises(KeyboardInterrupt), store.lock.held():
        store.failed(0, "here/1", "the loss is nan")
    store = made(storage)
    with store.lock.held():
        store.release(store.snapshot().entries[0])
    assert store.snapshot().entries[0].trial.state == "failed"


def cut_off(*_: object) -> None:
    """As by a kill."""
    raise KeyboardInterrupt


def test_a_trial_that_kills_its_workers_fails_at_the_second_one(storage: str) -> None:
    store = made(storage)
    begun(store)
    with store.lock.held():
        store.release(store.snapshot().entries[0], num_losses=1, most_losses=2)
        assert store.snapshot().entries[0].trial.state == "paused"
        store.claim(store.snapshot().entries[0], 1, "here/2")
        entry = store.snapshot().entries[0]
        store.release(entry, num_losses=entry.num_losses + 1, most_losses=2)
    assert store.snapshot().reasons == {0: "killed its worker 2 times, perhaps out of memory"}


def test_what_trials_of_earlier_searches_came_to_is_kept(storage: str) -> None:
    earlier = (Trial(0, HEAD, "done", 9, 0, (Rung(9, (-0.9,), 5.0),)),)
    url = url_of(storage, Path())
    Store.create(url, "search", plan(), Budget(units=9), earlier)
    assert Store.open(url, "search").snapshot().history.earlier == earlier


def test_a_search_with_another_space_objective_or_seed_is_refused_with_what_differs(storage: str) -> None:
    made(storage)
    made(storage)
    with pytest.raises(RunError, match="begun otherwise: seed: was 0, is 1; say what it was"):
        made(storage, plan(seed=1))
    other = Plan(plan().space, (Goal("loss", False),), plan().sampler, plan().scheduler, horizon=9, eta=3)
    with pytest.raises(RunError, match="objectives: was"):
        made(storage, other)
    made(storage, other, "another")


def test_the_words_of_a_difference_name_the_setting() -> None:
    before = {"space": {"a": {"domain": {"log": [1, 2]}}}, "seed": 0}
    now = {"space": {"a": {"domain": {"log": [1, 3]}}, "b": 1}, "seed": 0}
    assert differences(before, now) == ["space.a.domain.log: was [1, 2], is [1, 3]", "space.b: was nothing, is 1"]


def test_a_plan_comes_back_from_its_json() -> None:
    written = json.loads(json.dumps(plan().as_json()))
    assert Plan.of_json(written).as_json() == plan().as_json()
    assert Plan.of_json(written).space.by_name == plan().space.by_name


def test_a_missing_search_and_a_missing_server_are_told(tmp_path: Path, storage: str) -> None:
    with pytest.raises(RunError, match="there is no search here"):
        Store.open(url_of(None, tmp_path / "nowhere"), "search")
    made(storage)
    with pytest.raises(RunError, match="no search is called other in this storage; there: search"):
        Store.open(url_of(storage, tmp_path), "other")
    with pytest.raises(RunError, match=r"postgresql\+psycopg://\*\*\*@.*cannot be used"):
        Store.open(url_of(f"postgresql://me:secret@/none?host={tmp_path}", tmp_path), "search")
    with pytest.raises(RunError, match=r"search\.storage: mysql://\*\*\*@host/name is of no known kind"):
        url_of("mysql://me:secret@host/name", tmp_path)


def test_a_study_of_somebody_elses_is_refused(storage: str) -> None:
    store = made(storage)
    study = optuna.load_study(study_name="search", storage=url_of(storage, Path()))
    study.enqueue_trial({})
    with pytest.raises(RunError, match="trial 0 of this search was not made by Luthier"):
        store.snapshot()
    store.keep(FORMAT, 99)
    with pytest.raises(RunError, match=r"another version \(99, not 1\)"):
        made(storage)


def test_a_running_trial_without_a_sign_of_life_is_stale_and_one_with_is_not(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made(storage)
    entry = begun(store)
    assert store.stale() == []
    monkeypatch.setattr(store._storage, "grace_period", -1)
    assert [each.id for each in store.stale()] == [entry.id]
    with store.lock.held():
        store.release(entry)
    assert store.stale() == []


def test_time_counts_while_somebody_works_and_once_where_two_do(storage: str) -> None:
    store = made(storage)
    for life, span in {"a": [100, 110], "b": [105, 120], "c": [1000, 1001]}.items():
        store.keep(f"luthier.life.{life}", span)
    assert store.duration == 21
