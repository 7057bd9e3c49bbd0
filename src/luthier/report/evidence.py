"""What a run left behind, read once, in the words that findings, page and card share."""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from luthier.evaluation.metrics import Metric
from luthier.evaluation.score import Score, metrics_of
from luthier.recipe import Recipe
from luthier.run import BEFORE, Record, Run

OF_LABEL = "f1 of "
"""How metrics.json names the F1 of one label."""
SPLITS = ("train", BEFORE, "validation", "test")


TOLD_BY = {"setfit": "config_setfit.json", "sentence-transformers": "modules.json"}
"""The file that a folder of each library has, beside those of transformers."""


@dataclass(frozen=True)
class Evidence:
    """A run's recipe, log, scores and surroundings."""

    run: Run
    recipe: Recipe
    records: list[Record]
    scores: dict[str, dict[str, dict[str, float | None]]]
    environment: dict[str, Any]

    @classmethod
    def of(cls, run: Run) -> "Evidence":
        """Read a run's folder."""
        environment = json.loads((run.folder / "environment.json").read_text())
        return cls(run, run.recipe, run.records, run.metrics, environment)

    @property
    def name(self) -> str:
        """The run's folder, without the way to it."""
        return self.run.folder.resolve().name

    def all(self, event: str) -> list[Record]:
        """Every record of an event."""
        return [record for record in self.records if record["event"] == event]

    @property
    def steps(self) -> list[Record]:
        """Log lines that have a loss: not those of which every step was left out."""
        return [record for record in self.all("step") if record["loss"] is not None]

    def last(self, event: str) -> Record:
        """The last record of an event; empty where there is none."""
        return next((record for record in reversed(self.records) if record["event"] == event), {})

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The task's metrics by name."""
        return {metric.name: metric for metric in metrics_of(self.recipe.task.metrics)}

    @property
    def main(self) -> Metric:
        """The metric the run is judged by: the one that chose its best state, or the task's first."""
        chosen = self.recipe.training.best
        return self.metrics.get(chosen, next(iter(self.metrics.values())))

    def score(self, split: str, metric: str | None = None) -> Score | None:
        """A split's score, by default in the main metric; None where there is none or it is not defined."""
        found = self.scores.get(split, {}).get(metric or self.main.name, {})
        value, low, high = (found.get(key) for key in ("value", "low", "high"))
        return None if value is None or low is None or high is None else Score(value, low, high)

    @property
    def names(self) -> list[str]:
        """The metrics that some split was scored by, but those of single labels."""
        scored = set().union(*self.scores.values())
        return [name for name in self.metrics if name in scored and not name.startswith(OF_LABEL)]

    @property
    def is_in_pipelines(self) -> bool:
        """Whether `transformers.pipeline` runs the saved model."""
        from transformers.pipelines import SUPPORTED_TASKS

        return self.library == "transformers" and self.recipe.task.pipeline in SUPPORTED_TASKS

    @property
    def library(self) -> str:
        """Whose files the saved model is made of, as the hub calls it; PEFT's where there is no plain model."""
        if not self.run.model_folder.is_dir():
            return "peft"
        return next(
            (name for name, file in TOLD_BY.items() if (self.run.model_folder / file).is_file()), "transformers"
        )

    def loading(self, model: str) -> str | None:
        """Code that loads a saved model which no pipeline runs; None where one does, or there is no plain model."""
        if self.library == "peft" or self.is_in_pipelines:
            return None
        if self.library == "setfit":
            return f"from setfit import SetFitModel\n\nmodel = SetFitModel.from_pretrained({model!r})"
        if self.library == "sentence-transformers":
            return f"from sentence_transformers import SentenceTransformer\n\nmodel = SentenceTransformer({model!r})"
        name = self.run.model_class
        return f"from transformers import {name}\n\nmodel = {name}.from_pretrained({model!r})"

    @property
    def judged(self) -> str | None:
        """The split that speaks for the run: the test rows, else the validation rows."""
        return next((split for split in ("test", "validation") if split in self.scores), None)

    @property
    def rows(self) -> dict[str, int]:
        """Rows of each split."""
        rows: dict[str, int] = self.last("data")["rows"]
        return rows

    @property
    def notes(self) -> list[str]:
        """What was noticed in the data; a note's later lines may quote rows, which no report may hold."""
        return [note.partition("\n")[0].removesuffix(":") for note in self.last("data")["notes"]]

    @property
    def labels(self) -> list[str]:
        """The labels that have a score of their own, in the model's order."""
        scores = next(iter(self.scores.values()), {})
        return [name.removeprefix(OF_LABEL) for name in scores if name.startswith(OF_LABEL)]

    @property
    def problem(self) -> str | None:
        """What a classification asks for: single-label, multi-label or regression."""
        return getattr(self.recipe.task, "problem", None)

    def label_counts(self, split: str) -> list[int]:
        """Rows of each label among a split's scored rows."""
        lines = self.run.predictions(split) if self.labels else []
        if self.problem == "single-label":
            counts = Counter(line["target"] for line in lines)
            return [counts[number] for number in range(len(self.labels))]
        return [sum(line["target"][number] > 0 for line in lines) for number in range(len(self.labels))]

    def epoch_at(self, step: int) -> float | None:
        """Epochs done after a step; None where the log has no step."""
        last = self.last("step")
        return step * last["epoch"] / last["step"] if last else None
