"""One trial after the other, each from its checkpoint to the rung that it was given, on what a worker's trials share.

A trial that goes on in the worker that had it last goes on in memory; any other is restored from its checkpoint. Both
come to the same weights, bit by bit.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from luthier import files
from luthier.evaluation.judge import values as judged_values
from luthier.groundwork import Built, Rows
from luthier.interrupt import Stop
from luthier.models.quantise import num_weights
from luthier.planning import stages
from luthier.planning.guard import foresee
from luthier.planning.subject import ready, subject_of
from luthier.recipe import Recipe, read
from luthier.resume import FORESEEN as FORESEEN_SETTINGS
from luthier.searching.settings import Search
from luthier.studying.goals import excess, goals_of, metrics_for, turned
from luthier.studying.performing import PER_UNIT, Judged
from luthier.studying.recipes import of_trial, values_in
from luthier.studying.shelf import Shelf
from luthier.training.checkpoints import Checkpoints
from luthier.training.course import Material, course, step_at
from luthier.trials.history import Rung, Trial
from luthier.trials.space import Space

GIB = 2**30
FORESEEN = "foreseen.json"
"""In the folder of a trial: what was chosen for it by the memory that was free when it began."""
RECIPE = "recipe.yaml"
"""In the folder of a search: its recipe, with the space as it is searched."""


@dataclass
class _AtWork:
    """A trial whose model is in memory."""

    number: int
    built: Built
    rows: Rows
    tokens: Mapping[str, Dataset]
    records: Iterator[dict[str, Any]]
    """Its course, as far as it was not followed yet."""
    step: int
    num_steps: int
    resource: int = 0
    """Units at which it was judged last."""

    def go_to(self, step: int) -> int:
        """Follow the course to a pause, or to its end where that comes earlier; -> the steps that this took."""
        begun = self.step
        while self.step < step:
            record = next(self.records, None)
            if record is None:
                break
            if record["event"] == "pause":
                self.step = record["step"]
        return self.step - begun


class Session:
    """Performs trials in a folder; see `Performer`."""

    def __init__(self, recipe: Recipe, space: Space, folder: Path, *, study: str, stop: Stop | None = None) -> None:
        """`recipe` is the search's, `study` names it: checkpoints of another one are not taken."""
        assert recipe.search is not None, "a search has a section of its own"
        self.shelf = Shelf()
        self._recipe, self._space, self._folder, self._study = recipe, space, folder, study
        self._search: Search = recipe.search
        self._stop = stop or Stop()
        self._at_work: _AtWork | None = None
        units = [self._search.eta**power for power in range(self._search.rungs)]
        self._pauses = [each / self._search.horizon for each in units]

    def perform(self, trial: Trial, until: int) -> Judged:
        """Train a trial to so many units, and judge it there.

        Raises LuthierError or MemoryError where it fails, Interrupted where a signal asked to stop.
        """
        work = self._resumed(trial)
        began = time.perf_counter()
        num_taken = work.go_to(step_at(until / self._search.horizon, work.num_steps))
        trained = time.perf_counter()
        work.resource = until
        figures = self._judged(work)
        ended = time.perf_counter()
        figures["seconds"] = (trial.last.seconds if trial.last else 0.0) + ended - began
        goals = goals_of(self._search, work.rows.task)
        rung = Rung(until, turned(goals, figures), figures["seconds"], excess(self._search.constraints, figures))
        facts = {"step": work.step, "num_steps": work.num_steps, "figures": figures}
        if num_taken:
            steps_per_unit = work.num_steps / self._search.horizon
            facts[PER_UNIT] = (trained - began) / num_taken * steps_per_unit + (ended - trained) / until
        is_default = trial.number == 0
        return Judged(rung, facts, values_in(self._space, work.built.recipe, trial.values) if is_default else None)

    def forget(self, number: int) -> None:
        """Remove what a trial left."""
        if self._at_work is not None and self._at_work.number == number:
            self.close()
        files.discard(self._place(number))

    def close(self) -> None:
        """Let the trial in memory go."""
        if self._at_work is not None:
            self._at_work.records.close()  # type: ignore[attr-defined]
            self._at_work = None

    def _place(self, number: int) -> Path:
        return self._folder / "trials" / str(number)

    def _resumed(self, trial: Trial) -> _AtWork:
        """The trial in memory where it is that one and stands where it was judged; else as its checkpoint has it."""
        stands = self._at_work is not None and (self._at_work.number, self._at_work.resource)
        if stands != (trial.number, trial.resource):
            self.close()  # its model is gone before the next one is there
            self._at_work = self._begun(trial)
        assert self._at_work is not None
        return self._at_work

    def _begun(self, trial: Trial) -> _AtWork:
        place = self._place(trial.number)
        recipe = of_trial(self._recipe, self._space, trial.values, str(place))
        rows = self.shelf.rows(recipe)
        recipe = _within_memory(recipe, rows, place)
        built = self.shelf.built(recipe, rows)
        tokens = self.shelf.tokens(built, rows)
        task, settings = built.recipe.task, built.recipe.training
        material = Material(built.model, built.processor, task, tokens["train"], tokens.get("validation"))
        kept = Checkpoints(place, {"id": f"{self._study}/{trial.number}"}, keep=1)
        how: dict[str, Any] = {"checkpoints": kept, "stop": self._stop, "pauses": self._pauses}
        records = course(material, built.recipe.method, settings, shared=self.shelf.stores, **how)
        ready = next(record for record in records if record["event"] == "ready")
        return _AtWork(trial.number, built, rows, tokens, records, ready["step"], ready["num_steps"], trial.resource)

    def _judged(self, work: _AtWork) -> dict[str, float]:
        """The objectives' figures on the validation rows, and what else is wanted of them."""
        built, search = work.built, self._search
        task, settings = built.recipe.task, built.recipe.training
        if not built.recipe.method.stage(task).is_judged:  # it answers only when it is finished, and learns no more
            built.recipe.method.settle(built.model, task, work.tokens, built.processor, **settings.evaluation())
            work.resource = -1
        metrics = metrics_for(goals_of(search, work.rows.task), task)
        rows = work.tokens["validation"]
        found = judged_values(built.model, task, rows, built.processor, metrics, **settings.evaluation())
        _, learnt = num_weights(built.model)
        figures = {**found, "parameters": float(learnt)}
        if "memory_gib" in (*search.objectives, *search.constraints):
            figures["memory_gib"] = _peak_bytes(built.recipe, work.rows) / GIB
        return figures


def make(folder: Path, stop: Stop, study: str) -> Session:
    """The session of a worker, of the recipe that the search's folder holds: there its space is written out."""
    path = folder / RECIPE
    recipe = read(path)
    assert recipe.search is not None and recipe.search.said_space is not None, f"{path} is of no search"
    return Session(recipe, recipe.search.said_space, folder, study=study, stop=stop)


def _within_memory(recipe: Recipe, rows: Rows, place: Path) -> Recipe:
    """The recipe in pieces that fit, if they must be smaller; the same whenever the trial goes on."""
    path = place / FORESEEN
    if path.is_file():
        chosen = json.loads(path.read_text(encoding="utf-8"))
    else:
        training = foresee(recipe, rows)[0].training
        chosen = {name: getattr(training, name) for name in FORESEEN_SETTINGS}
        place.mkdir(parents=True, exist_ok=True)
        files.write_json(path, chosen)
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=chosen)})


def _peak_bytes(recipe: Recipe, rows: Rows) -> int:
    """Most memory that a step of this recipe takes, rehearsed: a process that trained others cannot tell."""
    with ready(subject_of(recipe, rows=rows)) as made:
        return stages.training(made).peak
