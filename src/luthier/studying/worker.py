"""A worker: takes a trial, performs it, tells what came of it, until nothing is left. A process of its own.

What it is to work at it reads in one line from its coordinator, whose end of the pipe stays open as long as that lives:
when it closes, as by a kill, the worker stops at the next step's border.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from luthier.errors import LuthierError, RunError
from luthier.interrupt import Interrupted, Stop
from luthier.searching.schedulers import End, Wait
from luthier.studying import database
from luthier.studying.entries import Entry
from luthier.studying.performing import Judged, Performer, maker
from luthier.studying.store import Lost, Store
from luthier.studying.taking import hopeless, take

WAIT_S = 0.3
"""Between two questions for work, while all depends on trials of others."""
LAST_S = 120
"""Longer than a step takes: who is asked to stop and does not is broken off."""
REFUSED = 2
"""Exit code where nothing can be performed at all."""


def work(store: Store, performer: Performer, worker: str, stop: Stop) -> None:
    """Work until nothing is left, or a stop is asked for.

    Raises Interrupted where a trial was stopped on its way: it is paused, and goes on first.
    """
    forgotten = set[int]()
    while stop.asked_by is None:
        job = take(store, worker)
        if isinstance(job, End):
            return
        if isinstance(job, Wait):
            time.sleep(WAIT_S)
            continue
        with contextlib.suppress(Lost):
            _perform(store, performer, worker, job)
        gone = hopeless(store, store.snapshot()) - forgotten
        for number in gone:
            performer.forget(number)
        forgotten |= gone


def _perform(store: Store, performer: Performer, worker: str, entry: Entry) -> None:
    """Perform a trial and tell what came of it; whatever it raises is its own failure."""
    number = entry.trial.number
    try:
        with _signs_of_life(store, entry):
            found: Judged | str = performer.perform(entry.trial, entry.trial.target)
    except (Interrupted, RunError, OSError):  # no fault of the trial's, but of the machine, as a disk that is full
        with store.lock.held():
            for held in store.snapshot().held_by(worker):
                store.release(held)
        raise
    except Exception as error:
        traceback.print_exc()
        found = f"{'' if isinstance(error, LuthierError) else f'{type(error).__name__}: '}{error}"
    with store.lock.held():
        if isinstance(found, str):
            store.failed(number, worker, found)
        else:
            store.judged(number, worker, found)


@contextlib.contextmanager
def _signs_of_life(store: Store, entry: Entry) -> Iterator[None]:
    """While open, a thread tells the store that the trial is worked at."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(database.HEARTBEAT_S):
            with contextlib.suppress(Exception):  # the next one may come through; who decides will meet the error too
                store.heartbeat(entry)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _stop_with_coordinator(pipe: int) -> None:
    """Ask this process to stop when the other end of the pipe closes."""

    def watch() -> None:
        while os.read(pipe, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LAST_S)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _share_cores(num_workers: int) -> None:
    """Before torch is imported: threads of two workers on one core are in each other's way.

    What a user has said of it stays.
    """
    if num_workers > 1:
        num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_cores // num_workers)))


def _line(pipe: int) -> bytes:
    """The first line; none of Python's own buffers, which a thread may not hold when the process ends."""
    line = b""
    while not line.endswith(b"\n"):
        read = os.read(pipe, 1)
        if not read:
            raise RunError("this is the worker of a search: luthier search begins it")
        line += read
    return line


def main(pipe: int) -> int:
    """Work as the line says that comes from the pipe, a file descriptor; -> exit code."""
    stop = Stop()
    try:
        with stop.listening():
            said = json.loads(_line(pipe))
            _stop_with_coordinator(pipe)
            _share_cores(said["num_workers"])
            store = Store.open(said["storage"], said["name"])
            performer = maker(said["performer"])(Path(said["folder"]), stop, store.id)
            with stop.waits_for_border():
                work(store, performer, said["worker"], stop)
    except Interrupted as stopped:
        return stopped.exit_code
    except (LuthierError, OSError) as error:
        sys.stderr.write(f"luthier: {error}\n")
        return REFUSED
    return 0 if stop.asked_by is None else 128 + stop.asked_by


if __name__ == "__main__":
    sys.exit(main(sys.stdin.fileno()))
