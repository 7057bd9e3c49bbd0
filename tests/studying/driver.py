"""A search whose processes are killed again and again: `driver.py FOLDER STORAGE NUM_WORKERS NUM_KILLS SEED`.

All its processes are forked from this one, so that everything is imported once, and most kills meet them at work, not
at their beginning. After a kill of the coordinator the next life goes on with the folder. Prints how many of each were
killed, as JSON.
"""

import json
import os
import random
import select
import signal
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from luthier.searching.schedulers.halving import Halving
from luthier.studying import crew, worker
from luthier.studying.database import url_of
from luthier.studying.performing import Judged
from luthier.studying.spending import Budget
from luthier.studying.store import Store
from luthier.studying.study import Search, follow
from luthier.studying.taking import take
from luthier.trials.history import Rung
from tests.studying import fake

NUM_UNITS = 135


class Remote:
    """In the coordinator: a worker that the driver has forked; its exit code comes as a file."""

    def __init__(self, pid: int, stdin: int, folder: Path) -> None:
        self.returncode: int | None = None
        self.stdin = os.fdopen(stdin, "wb")
        self._pid, self._exit = pid, folder / f"exit-{pid}"

    def poll(self) -> int | None:
        if self.returncode is None and self._exit.is_file():
            self.returncode = int(self._exit.read_text())
        return self.returncode

    def wait(self) -> int:
        while self.poll() is None:
            time.sleep(0.005)
        return self.returncode or 0

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self._pid, signal.SIGKILL)


class Driver:
    """Forks, kills, reaps."""

    def __init__(self, search: Search, chance: random.Random, num_kills: int) -> None:
        self._search, self._chance, self._num_kills = search, chance, num_kills
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._coordinator, self._workers = 0, set[int]()
        self.killed: Counter[str] = Counter()

    def drive(self) -> None:
        """Until a coordinator has come to the search's end."""
        self._coordinator = self._fork(self._coordinate)
        mark = self._mark()
        while self._coordinator:
            if select.select([self._ours], [], [], 0.005)[0]:
                self._hire()
            if self.killed.total() < self._num_kills and self._num_written > mark:
                time.sleep(self._chance.random() * 0.03)
                self._kill_one()
                mark = self._mark()
            self._reap()

    def _mark(self) -> int:
        """When the next kill is due: after a few more units, so that all gets on."""
        return self._num_written + 6 * self._chance.randrange(1, 5)

    @property
    def _num_written(self) -> int:
        """Characters that were noted of units so far; about five each."""
        log = self._search.folder / "units.log"
        return log.stat().st_size if log.is_file() else 0

    def _kill_one(self) -> None:
        is_worker = self._workers and self._chance.random() < 0.6
        victim = self._chance.choice(sorted(self._workers)) if is_worker else self._coordinator
        self.killed["coordinator" if victim == self._coordinator else "worker"] += 1
        os.kill(victim, signal.SIGKILL)

    def _reap(self) -> None:
        while self._coordinator or self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            if pid == self._coordinator:
                assert code in (0, -signal.SIGKILL), f"the coordinator ended with {code}"
                self._coordinator = self._fork(self._coordinate) if code else 0
            else:
                self._workers.remove(pid)
                told = self._search.folder / f"exit-{pid}"
                beside = told.with_suffix(".new")
                beside.write_text(str(code))
                beside.replace(told)

    def _hire(self) -> None:
        _, descriptors, _, _ = socket.recv_fds(self._ours, 16, 3)
        pipe, screen, _ = descriptors

        def live() -> int:
            os.dup2(screen, 1)
            os.dup2(screen, 2)
            return worker.main(pipe)

        pid = self._fork(live)
        self._workers.add(pid)
        for each in descriptors:
            os.close(each)
        self._ours.send(str(pid).encode())

    def _fork(self, live: Callable[[], int]) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            os._exit(live())
        except BaseException:
            traceback.print_exc()
            os._exit(70)

    def _coordinate(self) -> int:
        def start(screen: IO[bytes], lock: IO[str]) -> Any:
            hear, say = os.pipe()
            socket.send_fds(self._theirs, [b"hire"], [hear, screen.fileno(), lock.fileno()])
            os.close(hear)
            return Remote(int(self._theirs.recv(16)), say, self._search.folder)

        # An answer to the coordinator that was killed before this one may still lie here.
        self._theirs.setblocking(False)
        try:
            while self._theirs.recv(16):
                pass
        except BlockingIOError:
            self._theirs.setblocking(True)
        crew.start = start
        for _ in follow(self._search, resume=True):
            pass
        return 0


def warm(storage: str) -> None:
    """Do in this process what the others will do, so that none of them does it for the first time."""
    url = url_of(storage, Path())
    store = Store.create(url, "warm", fake.plan(Halving()), Budget(units=27))
    for _ in range(2):
        take(store, "here/1")
    with store.lock.held():
        store.judged(0, "here/1", Judged(Rung(1, (0.0,), 1.0)))
        store.release(store.snapshot().entries[1])
    take(store, "here/1")
    store.close()
    Store.remove(url, "warm")


def main() -> None:
    folder, storage = Path(sys.argv[1]), sys.argv[2]
    num_workers, num_kills, seed = map(int, sys.argv[3:])
    folder.mkdir(exist_ok=True)
    (folder / "fake.json").write_text(json.dumps({"unit_s": 0.02}))
    warm(storage)
    search = Search(
        folder,
        fake.plan(Halving()),
        Budget(units=NUM_UNITS),
        "tests.studying.fake:Fake",
        num_workers=num_workers,
        storage=storage,
        most_losses=1000,
        most_deaths=1000,
    )
    driver = Driver(search, random.Random(seed), num_kills)
    driver.drive()
    print(json.dumps(driver.killed))


if __name__ == "__main__":
    main()
