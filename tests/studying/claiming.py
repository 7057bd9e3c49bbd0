"""Several processes that take trials as fast as they can: `claiming.py STORAGE FOLDER NUM_PROCESSES`.

Each writes down what it took, in the folder; a trial is told as judged at once.
"""

import os
import sys
from pathlib import Path

from luthier.searching.schedulers import End, Wait
from luthier.studying.database import url_of
from luthier.studying.performing import Judged
from luthier.studying.spending import Budget
from luthier.studying.store import Store
from luthier.studying.taking import take
from luthier.trials.history import Rung
from tests.studying.fake import plan

NUM_UNITS = 100


def live(storage: str, told: Path, worker: str) -> None:
    store = Store.open(url_of(storage, Path()), "search")
    with told.open("w") as log:
        while not isinstance(job := take(store, worker), End):
            if isinstance(job, Wait):
                continue
            log.write(f"{job.trial.number} {job.trial.target}\n")
            rung = Rung(job.trial.target, (-job.trial.number / 100,), 1.0)
            with store.lock.held():
                store.judged(job.trial.number, worker, Judged(rung))


def main() -> None:
    storage, folder, num_processes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    Store.create(url_of(storage, Path()), "search", plan(), Budget(units=NUM_UNITS)).close()
    children = []
    for number in range(num_processes):
        child = os.fork()
        if child == 0:
            live(storage, folder / f"took-{number}", f"here/{number}")
            os._exit(0)
        children.append(child)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))


if __name__ == "__main__":
    main()
