"""A run's folder as an object: what was asked, what happened, what came out, and predictions from it.

recipe.yaml (resolved), environment.json, log.jsonl, metrics.json, predictions/, adapter/, model/, report.html,
README.md. A folder that exists is refused unless overwriting is asked for.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from luthier.errors import DataError, RunError, did_you_mean
from luthier.recipe import Recipe, dump, read
from luthier.tasks import Prediction, Task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from luthier.evaluation.score import Scores

Record = dict[str, Any]
"""One line of log.jsonl: `event`, `time`, and what the event tells."""
Row = str | tuple[str, str] | Mapping[str, Any]
"""A text, a pair of texts, or a row with the task's columns."""

BATCH_SIZE = 32


class Run:
    """A run's folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def create(cls, folder: str | Path, *, overwrite: bool = False) -> Self:
        """A fresh folder; one whose run broke before its first step is made anew.

        Raises RunError where it exists and is not to be overwritten, or holds something that is no run.
        """
        path = Path(folder)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            is_run = (path / "log.jsonl").is_file()
            took_a_step = is_run and any(record["event"] == "step" for record in cls(path).records)
            if not overwrite and (took_a_step or not is_run):
                raise RunError(f"{folder}: exists; choose another output, or say --overwrite")
            if not is_run:
                raise RunError(f"{folder}: is no run of Luthier's, so it is not overwritten; choose another output")
            shutil.rmtree(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{folder}: cannot be made: {error.strerror}") from error
        return cls(path)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """A folder that holds a run.

        Raises RunError where there is none, or its run did not come to its end.
        """
        path = Path(folder)
        if not (path / "recipe.yaml").is_file():
            beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise RunError(f"{folder}: holds no run of Luthier's{did_you_mean(path.name, beside)}")
        run = cls(path)
        events = {record["event"]: record for record in run.records}
        if "saved" not in events:
            raise RunError(f"{folder}: this run did not come to its end; train it again with --overwrite")
        if not events.get("self-check", {}).get("passed", True):
            raise RunError(f"{folder}: this run failed its self-check; do not use its model")
        return run

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return read(self.folder / "recipe.yaml")

    @property
    def metrics(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Split -> metric -> value, low, high."""
        scores: dict[str, dict[str, dict[str, float | None]]] = json.loads((self.folder / "metrics.json").read_text())
        return scores

    @property
    def records(self) -> list[Record]:
        """The log, line by line."""
        with (self.folder / "log.jsonl").open() as file:
            return [json.loads(line) for line in file]

    @property
    def model_folder(self) -> Path:
        """The plain Hugging Face folder; only of methods that fold."""
        return self.folder / "model"

    @property
    def adapter_folder(self) -> Path:
        """What was learnt, apart from the base."""
        return self.folder / "adapter"

    def log(self, event: str, **fields: Any) -> Record:
        """Add a line to the log, and give it back."""
        record = {"event": event, "time": round(time.time(), 3), **fields}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        return record

    def write_json(self, name: str, content: Any) -> None:
        """A JSON file in the folder."""
        (self.folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def add_scores(self, split: str, scores: dict[str, dict[str, float | None]]) -> None:
        """A split's scores into metrics.json."""
        before = self.metrics if (self.folder / "metrics.json").is_file() else {}
        self.write_json("metrics.json", {**before, split: scores})

    def write_predictions(self, split: str, predictions: Sequence[Prediction], targets: Sequence[Any]) -> None:
        """What was predicted for each row of a split, beside its target; numbers only, no text of the user's."""
        path = self.folder / "predictions" / f"{split}.jsonl"
        path.parent.mkdir(exist_ok=True)
        with path.open("w") as file:
            for prediction, target in zip(predictions, targets, strict=True):
                line = {"target": target, "value": prediction.value, "scores": prediction.scores}
                file.write(json.dumps(line) + "\n")

    def predictions(self, split: str) -> list[dict[str, Any]]:
        """The lines of a split's predictions: target, value, scores."""
        with (self.folder / "predictions" / f"{split}.jsonl").open() as file:
            return [json.loads(line) for line in file]

    def write_recipe(self, recipe: Recipe) -> None:
        """The resolved recipe."""
        (self.folder / "recipe.yaml").write_text(dump(recipe))

    @cache  # noqa: B019 - a run lives as long as its model is wanted
    def load(self, device: str = "auto") -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        """The fine-tuned model, ready to predict, and its processor; loaded once and kept."""
        import torch

        from luthier.models.device import choose_device
        from luthier.models.load import load_model, load_processor

        recipe, device = self.recipe, choose_device(device)
        is_plain = self.model_folder.is_dir()
        source = recipe.model.model_copy(update={"name": str(self.model_folder)}) if is_plain else recipe.model
        task, seed = recipe.task, recipe.training.seed
        model = load_model(source, task.auto_model, task.configuration(), device=device, seed=seed)
        if not is_plain:
            recipe.method.apply(model, generator=torch.Generator().manual_seed(seed))
            recipe.method.load(model, self.adapter_folder)
        return model.eval(), load_processor(source)

    def predict(self, rows: Sequence[Row], *, device: str = "auto") -> list[dict[str, Any]]:
        """The answer for each row, in the task's words."""
        return answer(*self.load(device), self.recipe.task, rows)

    def read_rows(self, source: str, *, labelled: bool) -> "tuple[Dataset, list[str]]":
        """Rows of another source under the task's columns, and what was noticed; targets only where labelled."""
        from luthier.data.splits import read_rows

        columns = [column for column in self.recipe.task.columns() if labelled or not column.target]
        names = {column.name for column in columns}
        given = {ours: theirs for ours, theirs in self.recipe.data.columns.items() if ours in names}
        data = self.recipe.data.model_copy(update={"duplicates": "keep", "columns": given})
        notes: list[str] = []
        return read_rows(data, source, "rows", columns, notes), notes

    def evaluate(self, source: str, *, device: str = "auto") -> "tuple[Scores, list[str]]":
        """Scores on other labelled rows, and what was noticed in them."""
        from luthier.evaluation.score import metrics_of, score

        rows, notes = self.read_rows(source, labelled=True)
        (model, processor), task = self.load(device), self.recipe.task
        prepared = task.prepare(rows, processor)
        predictions = _predict(model, processor, task, prepared)
        return score(metrics_of(task.metrics), predictions, prepared["target"][:]), notes


def answer(
    model: "PreTrainedModel", processor: "PreTrainedTokenizerBase", task: Task, rows: Sequence[Row]
) -> list[dict[str, Any]]:
    """The answer for each row, in the task's words."""
    from datasets import Dataset

    if isinstance(rows, str):
        raise DataError("predict takes a list of texts; put a single one in a list: [text]")
    if not rows:
        return []
    prepared = task.prepare(Dataset.from_list([_as_columns(row) for row in rows]), processor)
    predictions = _predict(model, processor, task, prepared)
    return [task.describe(prediction) for prediction in predictions]


def _predict(
    model: "PreTrainedModel", processor: "PreTrainedTokenizerBase", task: Task, prepared: "Dataset"
) -> list[Prediction]:
    """In fp32, whatever the run was trained in; a base that is held in bf16 computes in bf16."""
    import torch

    from luthier.evaluation.predict import predict
    from luthier.models.device import micro_batch_tokens

    bound = micro_batch_tokens(model.device.type)
    precision = "bf16" if model.dtype == torch.bfloat16 else "fp32"
    return predict(model, task, prepared, processor, batch_size=BATCH_SIZE, batch_tokens=bound, precision=precision)


def _as_columns(row: Row) -> dict[str, Any]:
    if isinstance(row, Mapping):
        return dict(row)
    return {"text": row} if isinstance(row, str) else dict(zip(("text", "text_pair"), row, strict=True))
