"""The store of a search: Optuna's tables, so that its dashboard and several machines work on them.

A running trial is RUNNING there, a paused one WAITING again, a done one COMPLETE, a failed one FAIL. Whoever decides
holds `lock`; a kill between two writes leaves a running trial, which `release` puts where its rungs say.
"""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any, Self

from luthier.errors import RunError
from luthier.studying.database import Database
from luthier.studying.entries import Entry, Landing, Snapshot, read_alone, turned, written_alone
from luthier.studying.optuna_terms import distribution, inside
from luthier.studying.performing import Judged
from luthier.studying.plan import Plan, differences
from luthier.studying.spending import Budget
from luthier.trials.history import State, Trial, Values

FORMAT, PLAN, BUDGET, LIFE, ID = (f"luthier.{name}" for name in ("format", "plan", "budget", "life", "id"))
EARLIER = "luthier.earlier"
"""Attributes of Optuna's study."""
ENTRY = "luthier"
"""The attribute of Optuna's trial."""
VERSION = 1
STATES: Mapping[str, State] = {"RUNNING": "running", "WAITING": "paused", "COMPLETE": "done", "FAIL": "failed"}
READ = """SELECT t.trial_id, t.number, t.state, a.value_json FROM trials t
LEFT JOIN trial_user_attributes a ON a.trial_id = t.trial_id AND a.key = :key
WHERE t.study_id = :study ORDER BY t.trial_id"""
"""One question for all trials: Optuna's own reading takes a second for a thousand of them."""


class Lost(Exception):
    """A worker's trial was given to another one meanwhile, so that what it found does not count."""


class Store:
    """One search in a database."""

    def __init__(self, database: Database, study: int, plan: Plan, earlier: Sequence[Trial]) -> None:
        self.lock, self.plan, self._earlier = database.lock, plan, tuple(earlier)
        self._database, self._storage, self._study = database, database.storage, study
        self._read: dict[int, tuple[str, str, Entry]] = {}

    @classmethod
    def create(cls, url: str, name: str, plan: Plan, budget: Budget, earlier: Sequence[Trial] = ()) -> Self:
        """A search of that name; one that is there already is joined, if it is the same but for its budget.

        A search that is joined keeps its budget until `budget` is set. Raises RunError where it is another one, or the
        storage cannot be used.
        """
        from optuna.exceptions import DuplicatedStudyError
        from optuna.study import StudyDirection

        database = Database(url, name, may_create=True)
        with database.lock.held():
            ways = [StudyDirection.MAXIMIZE if g.higher_is_better else StudyDirection.MINIMIZE for g in plan.goals]
            try:
                study = database.storage.create_new_study(ways, name)
            except DuplicatedStudyError:
                study = database.storage.get_study_id_from_name(name)
            attributes = database.storage.get_study_user_attrs(study)
            if FORMAT not in attributes:  # new, or cut off before it was told
                store = cls(database, study, plan, earlier)
                store.budget = budget
                store.keep(EARLIER, [written_alone(trial, plan.goals) for trial in earlier])
                store.keep(PLAN, plan.as_json())
                store.keep(ID, uuid.uuid4().hex)
                store.keep(FORMAT, VERSION)
                return store
        _require_version(attributes, name)
        if told := differences(attributes[PLAN], plan.as_json()):
            raise RunError(
                f"the search {name} was begun otherwise: {'; '.join(told)}; "
                "say what it was, or choose another output (on a server, another name)"
            )
        return cls(database, study, plan, [read_alone(told, plan.goals) for told in attributes[EARLIER]])

    @classmethod
    def open(cls, url: str, name: str) -> Self:
        """A search that is there.

        Raises RunError where there is none, or it is of another version.
        """
        database = Database(url, name, may_create=False)
        try:
            study = database.storage.get_study_id_from_name(name)
        except KeyError:
            known = ", ".join(each.study_name for each in database.storage.get_all_studies()) or "none"
            raise RunError(f"no search is called {name} in this storage; there: {known}") from None
        attributes = database.storage.get_study_user_attrs(study)
        _require_version(attributes, name)
        plan = Plan.of_json(attributes[PLAN])
        return cls(database, study, plan, [read_alone(told, plan.goals) for told in attributes[EARLIER]])

    @classmethod
    def remove(cls, url: str, name: str) -> None:
        """Remove a search from a storage that keeps others, if it is there."""
        database = Database(url, name, may_create=True)
        with closing(database), database.lock.held(), suppress(KeyError):
            database.storage.delete_study(database.storage.get_study_id_from_name(name))

    def close(self) -> None:
        self._database.close()

    @property
    def attributes(self) -> dict[str, Any]:
        """What is kept of the whole search."""
        attributes: dict[str, Any] = self._storage.get_study_user_attrs(self._study)
        return attributes

    def keep(self, key: str, value: Any) -> None:
        """Keep plain values of the whole search."""
        self._storage.set_study_user_attr(self._study, key, value)

    @property
    def id(self) -> str:
        """Drawn when the search was begun; tells its checkpoints from another one's."""
        return str(self.attributes[ID])

    @property
    def budget(self) -> Budget:
        return Budget(**self.attributes[BUDGET])

    @budget.setter
    def budget(self, budget: Budget) -> None:
        self.keep(BUDGET, asdict(budget))

    def snapshot(self) -> Snapshot:
        """All trials as they are."""
        from sqlalchemy import text

        with self._database.reading() as connection:
            rows = connection.execute(text(READ), {"key": ENTRY, "study": self._study}).all()
        return Snapshot(tuple(self._entry(*row) for row in rows), self._earlier)

    def _entry(self, id: int, number: int, state: str, written: str | None) -> Entry:
        """A trial as it was read; one that did not change is not read anew."""
        known = self._read.get(id)
        if known is not None and known[:2] == (state, written):
            return known[2]
        if written is None or state not in STATES:
            raise RunError(f"trial {number} of this search was not made by Luthier; leave its study to it")
        entry = Entry.of(json.loads(written), self.plan.goals, id=id, number=number, state=STATES[state])
        self._read[id] = (state, written, entry)
        return entry

    def begin(self, values: Values, until: int, bracket: int, worker: str) -> Entry:
        """A new trial, held by a worker: there whole, or not at all."""
        from optuna.trial import FrozenTrial, TrialState

        self._require_lock()
        trial = Trial(-1, dict(values), "running", until, bracket)
        params = inside(self.plan.space, values)
        template = FrozenTrial(
            number=-1,
            trial_id=-1,
            state=TrialState.RUNNING,
            value=None,
            values=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params=params,
            distributions={name: distribution(self.plan.space.by_name[name].domain) for name in params},
            user_attrs={ENTRY: Entry(trial, -1, worker).written(self.plan.goals)},
            system_attrs={},
            intermediate_values={},
        )
        id = self._storage.create_new_trial(self._study, template)
        self._storage.record_heartbeat(id)
        entry = self.snapshot().entries[-1]
        assert entry.id == id
        return entry

    def claim(self, entry: Entry, until: int, worker: str, *, bracket: int | None = None) -> Entry | None:
        """A paused trial for a worker; None where somebody else has it."""
        from optuna.trial import TrialState

        self._require_lock()
        if self.snapshot().entries[entry.trial.number].trial.state != "paused":
            return None
        its = entry.trial.bracket if bracket is None else bracket
        taken = entry.changed({"target": until, "bracket": its}, worker=worker)
        # Cut off in between, it is a trial with its way still to go; the other way round nobody would know whose it is.
        self._storage.record_heartbeat(entry.id)
        self._write(taken)
        is_ours = self._storage.set_trial_state_values(entry.id, TrialState.RUNNING)
        return taken.changed({"state": "running"}) if is_ours else None

    def judged(self, number: int, worker: str, judged: Judged) -> Trial:
        """A worker's trial came to its rung: it is paused there, or done.

        Raises Lost where it is not the worker's any more.
        """
        entry, rung = self._held(number, worker), judged.rung
        values = dict(entry.trial.values if judged.values is None else judged.values)
        landings = (*entry.landings, Landing(time.time(), judged.facts))
        rungs = (*entry.trial.rungs, rung)
        landed = entry.changed({"rungs": rungs, "values": values}, landings=landings, num_losses=0)
        self._write(landed)
        if len(self.plan.goals) == 1:  # Optuna has no such values of several
            value = turned(rung.values, self.plan.goals)[0]
            self._storage.set_trial_intermediate_value(entry.id, rung.resource, value)
        return self._settle(landed)

    def failed(self, number: int, worker: str, reason: str) -> None:
        """A worker's trial broke.

        Raises Lost where it is not the worker's any more.
        """
        self._fail(self._held(number, worker), reason)

    def release(self, entry: Entry, *, num_losses: int | None = None, most_losses: int | None = None) -> Trial:
        """A running trial that nobody works at any more: paused, to go on from its checkpoint.

        `num_losses`: how many workers it has killed; as many as `most_losses` fail it.
        """
        self._require_lock()
        left = entry if num_losses is None else entry.changed(num_losses=num_losses)
        if most_losses is not None and left.num_losses >= most_losses:
            return self._fail(left, f"killed its worker {left.num_losses} times, perhaps out of memory")
        if left.reason is not None:  # told as failed, and cut off before it was
            return self._fail(left, left.reason)
        if left != entry:
            self._write(left)
        return self._settle(left)

    def heartbeat(self, entry: Entry) -> None:
        """A sign of life of a running trial; any thread may give it, and gives up its connection with that."""
        try:
            self._storage.record_heartbeat(entry.id)
        finally:
            self._storage.remove_session()

    def stale(self) -> list[Entry]:
        """Running trials that gave no sign of life for long."""
        ids = set(self._storage._get_stale_trial_ids(self._study))
        return [entry for entry in self.snapshot().entries if entry.id in ids] if ids else []

    def alive(self, life: str, since: float) -> float:
        """Note that a coordinator works; -> seconds in which one did, since the search began."""
        self.keep(f"{LIFE}.{life}", [since, time.time()])
        return self.duration

    @property
    def duration(self) -> float:
        """Seconds of work since the search began; of coordinators that worked at once, once."""
        lives = sorted(value for key, value in self.attributes.items() if key.startswith(f"{LIFE}."))
        total, reached = 0.0, 0.0
        for begin, end in lives:
            total += max(0.0, end - max(begin, reached))
            reached = max(reached, end)
        return total

    def _settle(self, entry: Entry) -> Trial:
        """Put a running trial where its rungs say."""
        from optuna.trial import TrialState

        trial, goals = entry.trial, self.plan.goals
        if trial.last is not None and trial.resource >= self.plan.horizon:
            self._storage.set_trial_state_values(entry.id, TrialState.COMPLETE, turned(trial.last.values, goals))
            return entry.changed({"state": "done"}).trial
        self._storage.set_trial_state_values(entry.id, TrialState.WAITING)
        return entry.changed({"state": "paused"}).trial

    def _fail(self, entry: Entry, reason: str) -> Trial:
        from optuna.trial import TrialState

        self._write(entry.changed(reason=reason))
        self._storage.set_trial_state_values(entry.id, TrialState.FAIL)
        return entry.changed({"state": "failed"}).trial

    def _held(self, number: int, worker: str) -> Entry:
        self._require_lock()
        entry = self.snapshot().entries[number]
        if entry.trial.state != "running" or entry.worker != worker:
            raise Lost(f"trial {number} is not {worker}'s any more")
        return entry

    def _write(self, entry: Entry) -> None:
        self._storage.set_trial_user_attr(entry.id, ENTRY, entry.written(self.plan.goals))

    def _require_lock(self) -> None:
        assert self.lock.is_held, "whoever decides holds the lock"


def _require_version(attributes: Mapping[str, Any], name: str) -> None:
    if attributes.get(FORMAT) != VERSION:
        found = attributes.get(FORMAT, "no search of Luthier's")
        raise RunError(f"{name}: is of another version ({found}, not {VERSION}); use the Luthier that wrote it")
