"""Luthier's side of the search's benchmark: `luthier search` with one worker, in this process.

It is the command's own way from the recipe to the trials: prepared, a store in a file, decisions under its lock, trials
performed by a session. Left out are the start of the worker's process (as the peer's is), and the final runs after it.
"""

import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import _search_task as task
from benchmarks._search_peer import Asked, Clock, Found
from benchmarks._search_task import HORIZON, Setting, Sizes
from luthier import files
from luthier.interrupt import Stop
from luthier.recipe import Recipe, check
from luthier.searching.choosing import settle
from luthier.searching.settings import Search
from luthier.studying.performing import Judged
from luthier.studying.preparing import prepared
from luthier.studying.session import RECIPE, Session, make
from luthier.studying.store import Store
from luthier.studying.worker import work
from luthier.trials.history import History, Rung, Terms, Trial, Values
from luthier.trials.space import Space

WORKER = "benchmark"


def recipe_of(space: str, sizes: Sizes, output: Path, *, budget: float, seed: int) -> Recipe:
    """The search as a user would write it down; how it searches is left to `auto`."""
    default, (train, validation) = task.start(space, seed), sizes.files
    method = task.method_of(space, default)
    return check(
        {
            "model": task.MODEL,
            "data": {"train": str(train), "validation": str(validation)},
            "task": {"kind": "text-classification", "max_length": task.MAX_LENGTH},
            "method": {"kind": method.kind(), **method.model_dump(mode="json", exclude_defaults=True)},
            "training": {
                "epochs": sizes.epochs,
                "batch_size": default["batch_size"],
                "learning_rate": default["learning_rate"],
                "schedule": {"kind": "linear", "warmup": 0.0},
                "seed": seed,
            },
            "output": str(output),
            "search": {
                "space": task.domains(space),
                "objectives": ["loss"],
                "budget": f"{budget:g} runs",
                "eta": task.ETA,
                "rungs": task.NUM_RUNGS,
                "replicates": 0,
                "seed": seed,
            },
        }
    )


@dataclass
class Watch:
    """A performer that ends the search when a full run reaches the target."""

    session: Session
    stop: Stop
    target: float
    performing_s: float = 0.0
    best: float = float("inf")
    jobs: list[dict[str, Any]] = field(default_factory=list)

    def perform(self, trial: Trial, until: int) -> Judged:
        begun = time.perf_counter()
        judged = self.session.perform(trial, until)
        seconds = time.perf_counter() - begun
        self.performing_s += seconds
        loss = judged.rung.values[0]
        self.jobs.append(
            {"number": trial.number, "values": dict(trial.values), "until": until, "loss": loss, "seconds": seconds}
        )
        if until == HORIZON:
            self.best = min(self.best, loss)
            if self.best <= self.target:
                self.stop.asked_by = signal.SIGTERM
        return judged

    def forget(self, number: int) -> None:
        self.session.forget(number)


def search(asked: Asked) -> Found:
    """Search until a full run reaches the target, or the budget is spent; -> what it took."""
    with _folder() as folder:
        clock, stop = Clock(), Stop()
        recipe = recipe_of(
            asked["space"], Sizes(**asked["sizes"]), folder, budget=asked["most_runs"], seed=asked["seed"]
        )
        study = prepared(recipe).study
        assert study.recipe is not None
        files.write_text(folder / RECIPE, study.recipe)
        store = Store.create(f"sqlite:///{folder / 'search.db'}", study.name, study.plan, study.budget)
        session = make(folder, stop, store.id)
        watch = Watch(session, stop, asked["target"])
        with contextlib.closing(session), contextlib.closing(store):
            work(store, watch, WORKER, stop)
            told, trials = clock.read(), store.snapshot().history.trials
    rungs = [trial.rungs[-1].resource for trial in trials if trial.rungs]
    reached = watch.best <= asked["target"]
    figures = {"reached": reached, "best": watch.best, "units": sum(rungs), "trials": len(trials)}
    return {**told, **figures, "deciding_s": told["seconds"] - watch.performing_s, "jobs": watch.jobs}


def warm(asked: Asked) -> Found:
    """One look at one trial, and a proposal of the model."""
    space = Space.of(task.domains(asked["space"]))
    settings = enumerate(task.drawn(asked["space"], 8))
    trials = tuple(
        Trial(n, task.values(asked["space"], each), "done", HORIZON, rungs=(Rung(HORIZON, (float(n),), 1.0),))
        for n, each in settings
    )
    terms = Terms(HORIZON, task.ETA, 20 * HORIZON)
    sampler, _ = settle(Search().sampler, Search().scheduler, space, terms)
    sampler.suggest(space, History(trials), seed=0)
    return search({**asked, "seed": 0, "most_runs": 0.2, "target": 0.0})


def same(asked: Asked) -> Found:
    """A full run with a setting of the peer's pool, on its own."""
    sizes, space = Sizes(**asked["sizes"]), asked["space"]
    with _folder() as folder, _session(space, sizes, folder, seed=asked["seed"]) as session:
        clock = Clock()
        judged = session.perform(Trial(1, task.values(space, asked["setting"]), "running", HORIZON), HORIZON)
    figures = judged.facts["figures"]
    return {**clock.read(), "loss": figures["loss"], "parameters": figures["parameters"]}


def loop(asked: Asked) -> Found:
    """The loop alone: steps a second of a full run, nothing shared and nothing kept."""
    from luthier.groundwork import build, load_rows
    from luthier.studying.recipes import of_trial
    from luthier.training.course import Material, course

    sizes, space = Sizes(**asked["sizes"]), asked["space"]
    with _folder() as folder:
        searched = recipe_of(space, sizes, folder, budget=1, seed=0)
        trial = task.values(space, asked["setting"])
        recipe = of_trial(searched, Space.of(task.domains(space)), trial, str(folder / "run"))
        recipe = recipe.changed({"training.cache": "off"}, where="benchmark")
        rows = load_rows(recipe)
        built = build(recipe, rows)
        tokens = built.recipe.task.prepare(rows.splits.train, built.processor, training=True)
        material = Material(built.model, built.processor, built.recipe.task, tokens, None)
        clock = Clock()
        steps = [
            each["step"] for each in course(material, built.recipe.method, built.recipe.training) if "step" in each
        ]
    found = clock.read()
    return {**found, "steps_per_s": steps[-1] / found["seconds"], "steps_per_cpu_s": steps[-1] / found["cpu_s"]}


Step = tuple[int, int]
"""A trial's number and the units it goes to."""
SEQUENCE: Sequence[Step] = (
    *((0, 1), (1, 1), (2, 1), (0, 3)),
    *((3, 1), (4, 1), (5, 1), (3, 3)),
    *((6, 1), (7, 1), (8, 1), (7, 3), (3, 9)),
)
"""As asynchronous halving would go on, whatever the scores: 9 trials, 3 of them to 3 units, one of those to 9."""
WITHOUT: Mapping[str, frozenset[str]] = {
    "all": frozenset(),
    "no resume": frozenset({"resume"}),
    "no sharing": frozenset({"sharing"}),
    "no cache": frozenset({"cache"}),
    "none": frozenset({"resume", "sharing", "cache"}),
}
"""What is switched off."""


def replay(asked: Asked) -> Found:
    """Perform the sequence with something switched off; -> what it took."""
    without, sizes, space = WITHOUT[asked["variant"]], Sizes(**asked["sizes"]), asked["space"]
    settings = [task.values(space, each) for each in task.drawn(space, len(SEQUENCE))]
    rungs: dict[int, tuple[Rung, ...]] = {}
    with _folder() as folder, contextlib.ExitStack() as kept:
        clock = Clock()
        session = kept.enter_context(_session(space, sizes, folder, has_cache="cache" not in without))
        for count, (number, until) in enumerate(SEQUENCE):
            if count and "sharing" in without:
                session.close()
                session = kept.enter_context(_session(space, sizes, folder, has_cache="cache" not in without))
            if "resume" in without:
                session.forget(number)
            trial = Trial(number, settings[number], "running", until, rungs=rungs.get(number, ()))
            rungs[number] = (*trial.rungs, session.perform(trial, until).rung)
        return {**clock.read(), "loss": rungs[3][-1].values[0]}


@contextlib.contextmanager
def _session(space: str, sizes: Sizes, folder: Path, *, seed: int = 0, has_cache: bool = True) -> Iterator[Session]:
    recipe = recipe_of(space, sizes, folder, budget=20, seed=seed)
    if not has_cache:
        recipe = recipe.changed({"training.cache": "off"}, where="benchmark")
    assert recipe.search is not None
    assert recipe.search.said_space is not None
    with contextlib.closing(Session(recipe, recipe.search.said_space, folder, study=WORKER)) as session:
        yield session


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="luthier-search-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def setting_of(values: Values) -> Setting:
    """A trial's values as the peer says them; the other way of `task.values`."""
    found: Setting = {"learning_rate": values["training.learning_rate"]}
    found["batch_size"] = int(values["training.batch_size"])
    if "method.train" in values:
        return {**found, "blocks": int(str(values["method.train"]).removeprefix("last-").partition("+")[0])}
    return {**found, "rank": int(values["method.rank"]), "dropout": float(values["method.dropout"])}
