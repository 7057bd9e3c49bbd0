"""A search, coordinated: the folder claimed, the store made or gone on with, workers hired and replaced; records.

The coordinator decides nothing: every worker does, under the store's lock. It looks on, puts trials of dead workers
back, and ends the search when time is over. Two coordinators on one folder: the second is refused. From other folders
or machines they share one search by its storage's address and its name: each then works with its own workers; a trial
whose checkpoint lies elsewhere is computed anew from its beginning, which costs time but no units.
"""

import contextlib
import shutil
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from luthier import files
from luthier.errors import RunError
from luthier.interrupt import Interrupted, Stop
from luthier.run import Record
from luthier.studying.changes import changes
from luthier.studying.crew import Crew, Member
from luthier.studying.database import url_of
from luthier.studying.entries import Snapshot
from luthier.studying.plan import Plan
from luthier.studying.spending import Budget
from luthier.studying.standing import Arrival, Standing
from luthier.studying.store import Store
from luthier.studying.taking import common_failure
from luthier.studying.worker import LAST_S, REFUSED
from luthier.trials.history import Trial

PLACE, WORKERS_LOCK, DATABASE, RECIPE = ".place", ".workers.lock", "search.db", "recipe.yaml"
FINALS, CONCLUDED = ("winner-*", "default-*"), ("search.json", "search.html", "best.yaml")
"""What the end of a search writes into its folder."""
LOOK_S, NOTE_S = 0.2, 5.0
"""Between two looks at the store, and between two notes in it that the coordinator works."""
MOST_LOSSES = 2
"""Workers that one trial may kill on its way to a rung."""
MOST_DEATHS = 6
"""Workers that may die one after the other without anything being judged."""
_STOPPED = "stopped by {}; go on with the same command and --resume"


@dataclass(frozen=True)
class Search:
    """Everything that a coordinator must know."""

    folder: Path
    plan: Plan
    budget: Budget
    performer: str
    """The function that makes a worker's performer: `package.module:function`."""
    keeps_budget: bool = False
    """Whether a search that goes on keeps the budget that it has."""
    num_workers: int = 1
    storage: str | None = None
    """A URL; None: a file in the folder."""
    name: str = "search"
    """What the storage calls it: whoever names the same there works at the same."""
    earlier: Sequence[Trial] = ()
    recipe: str | None = None
    """What the folder's recipe.yaml says, by which trials train; None: as it is. One that was begun keeps its own."""
    most_losses: int = MOST_LOSSES
    most_deaths: int = MOST_DEATHS


def follow(
    search: Search, *, resume: bool = False, overwrite: bool = False, stop: Stop | None = None
) -> Iterator[Record]:
    """Search until the budget is spent; -> what happens, as records.

    After every change comes a record `standing`, with all of it. Raises RunError where the folder is in use, holds a
    search already or another one, no worker can work, or the first trials all fail alike; Interrupted where `stop`
    asked for it. Workers are then stopped at their next step, by a second signal at once; with `resume` all goes on.
    """
    with _claimed(search.folder, resume=resume, overwrite=overwrite), _no_orphans(search.folder) as lock:
        url = url_of(search.storage, search.folder)
        if overwrite and search.storage is not None:
            Store.remove(url, search.name)
        store = Store.create(url, search.name, search.plan, search.budget, search.earlier)
        store.budget = search.budget.after(store.budget, keeps=resume and search.keeps_budget)
        for path in (path for name in CONCLUDED for path in search.folder.glob(name)):
            path.unlink()  # what was concluded of fewer trials
        if search.recipe is not None and not (search.folder / PLACE).is_file():
            files.write_text(search.folder / RECIPE, search.recipe)
        where = {"storage": url, "name": search.name, "folder": str(search.folder)}
        said = {**where, "performer": search.performer, "num_workers": search.num_workers}
        crew = Crew(search.folder, _place(search.folder), said, lock, life=uuid.uuid4().hex[:8])
        stop = stop or Stop()
        coordinator = _Coordinator(search, store, crew, stop)
        try:
            with stop.waits_for_border():
                yield from coordinator.records()
        except Interrupted:  # by a second signal, if anybody still works
            crew.stop(patience_s=0)
            raise
        finally:
            coordinator.close()


def standing(store: Store, snapshot: Snapshot) -> Standing:
    """The search as people look at it."""
    landed = [
        (landing.at, Arrival(entry.trial.number, rung.resource))
        for entry in snapshot.entries
        for rung, landing in zip(entry.trial.rungs, entry.landings, strict=True)
    ]
    plan, budget = store.plan, store.budget
    return Standing(
        history=snapshot.history,
        space=plan.space,
        goals=plan.goals,
        terms=plan.terms(budget.units),
        reasons=snapshot.reasons,
        course=tuple(arrival for _, arrival in sorted(landed, key=lambda each: each[0])),
        duration_s=store.duration,
        limit_s=budget.seconds,
    )


class _Coordinator:
    """One life of a coordinator."""

    def __init__(self, search: Search, store: Store, crew: Crew, stop: Stop) -> None:
        self._search, self._store, self._crew, self._stop = search, store, crew, stop
        self._seen, self._began, self._noted_at = Snapshot(), time.time(), 0.0
        self._units: int | None = None
        self._num_deaths = 0

    def records(self) -> Iterator[Record]:
        self._release()  # of a coordinator before, whose workers are dead
        yield from self._look()
        self._note()
        for _ in range(0 if self._is_time_over() else self._search.num_workers):
            self._crew.hire()
        while self._crew.members:
            if self._stop.asked_by is not None:
                self._crew.stop()
                raise Interrupted(self._stop.asked_by, _STOPPED.format(self._stop.asked_by.name))
            for member in self._crew.ended():
                yield from self._ended(member)
            yield from self._look()
            if self._is_time_over():
                yield {"event": "time-over", "seconds": self._store.budget.seconds}
                self._crew.stop()
            time.sleep(LOOK_S)
        self._release()
        yield from self._look()
        if reason := common_failure(self._seen):
            how = "mend it, and begin anew with --overwrite"
            raise RunError(f"the first trials all failed alike, so the search ends: {reason}; {how}")
        yield {"event": "ended", "standing": standing(self._store, self._seen)}

    def close(self) -> None:
        """Stop whoever still works, and put back what they had."""
        self._crew.stop()
        self._release()
        self._note()
        self._store.close()

    def _look(self) -> Iterator[Record]:
        """What happened since the last look."""
        now, before = self._store.snapshot(), self._seen
        self._seen = now
        for record in changes(before, now):
            if record["event"] in ("judged", "failed"):
                self._num_deaths = 0
            yield record
        units = self._store.budget.units
        if units != self._units:
            self._units = units
            yield {"event": "budget", "units": units, "horizon": self._store.plan.horizon}
        if now != before:
            yield {"event": "standing", "standing": standing(self._store, now)}

    def _ended(self, member: Member) -> Iterator[Record]:
        """A worker ended: where it had to, well; else what it had is put back, and another one is hired.

        Raises RunError where no worker can work.
        """
        code = member.process.returncode
        if code == 0:
            return
        was_killed = code < 0
        self._release(member.name, is_loss=was_killed)
        yield from self._look()
        self._num_deaths += 1
        told = f"killed by {signal.Signals(-code).name}" if was_killed else f"ended with {code}"
        told = ": ".join(filter(None, (told, member.last_words)))
        if code == REFUSED:
            raise RunError(member.last_words)
        if self._num_deaths > self._search.most_deaths:
            raise RunError(f"no worker can work: {told} (see {member.log})")
        yield {"event": "worker-lost", "worker": member.name, "reason": told}
        self._crew.hire()

    def _release(self, worker: str | None = None, *, is_loss: bool = False) -> None:
        """Put back the trials of a worker, or of all of this place."""
        store = self._store
        with store.lock.held():
            for entry in store.snapshot().held_by(worker or self._crew.place):
                num_losses = entry.num_losses + 1 if is_loss else None
                store.release(entry, num_losses=num_losses, most_losses=self._search.most_losses if is_loss else None)

    def _note(self) -> None:
        """A sign of life; and what other machines have left behind is put back."""
        self._noted_at = time.monotonic()
        self._duration = self._store.alive(self._crew.life, self._began)
        with self._store.lock.held():
            for entry in self._store.stale():
                if not entry.worker.startswith(f"{self._crew.place}/"):  # ours are watched
                    self._store.release(entry)

    def _is_time_over(self) -> bool:
        if time.monotonic() - self._noted_at > NOTE_S:
            self._note()
        seconds = self._search.budget.seconds
        return seconds is not None and self._duration + time.monotonic() - self._noted_at >= seconds


@contextlib.contextmanager
def _claimed(folder: Path, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """The folder of a search, held while open.

    Raises RunError where another process has it, or there is a search and nobody said what is meant.
    """
    with files.held_folder(folder):
        begun = (folder / PLACE).is_file()
        if begun and not resume and not overwrite:
            how = "say --resume to go on, --overwrite to begin anew"
            raise RunError(f"{folder}: holds a search; {how}, or choose another output")
        if begun and overwrite:
            with _no_orphans(folder):
                _empty(folder)
        yield


def _empty(folder: Path) -> None:
    """Remove what a search kept; the database first, so that no half of it is gone on with."""
    for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"):
        (folder / name).unlink(missing_ok=True)
    for path in (folder / "trials", folder / "workers", *(p for name in FINALS for p in folder.glob(name))):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    (folder / PLACE).unlink(missing_ok=True)


@contextlib.contextmanager
def _no_orphans(folder: Path) -> Iterator[IO[str]]:
    """Wait until the workers of a coordinator that was killed have ended; -> the lock by which that is known.

    Raises RunError where they do not.
    """
    with (folder / WORKERS_LOCK).open("a+") as lock:
        deadline = time.monotonic() + LAST_S
        while True:
            try:
                files.take_lock(lock, folder)
                break
            except RunError:
                if time.monotonic() > deadline:
                    raise RunError(f"{folder}: workers of an earlier search are still at work here") from None
                time.sleep(0.05)
        yield lock


def _place(folder: Path) -> str:
    """What this folder's workers are called by in a storage that others use too."""
    path = folder / PLACE
    if not path.is_file():
        files.write_text(path, uuid.uuid4().hex)
    return path.read_text()
