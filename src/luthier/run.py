"""A run's folder as an object: what was asked, what happened, what came out, and predictions from it.

recipe.yaml (resolved), environment.json, log.jsonl, metrics.json, predictions/, checkpoints/ (while it trains),
adapter/, model/, report.html, README.md. Who writes to it claims it first (claim.py).
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from luthier import files
from luthier.errors import DataError, RunError, did_you_mean
from luthier.recipe import Recipe, dump, read
from luthier.tasks import Prediction

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

    from luthier.data.columns import Layout
    from luthier.evaluation.score import Scores
    from luthier.models.processor import Processor

Record = dict[str, Any]
"""One line of log.jsonl: `event`, `time`, and what the event tells."""
Row = str | tuple[str, str] | Mapping[str, Any]
"""A text, a pair of texts, or a row with the task's columns."""
AT_THE_END = ("trained", "settled", "score", "saved", "folded", "self-check", "done")
"""Events that follow the last step, and happen again where a run goes on."""
BEFORE = "before"
"""How metrics.json calls the scores of the model that has not learnt yet, on the run's last split."""


class Run:
    """A run's folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """A folder that holds a run.

        Raises RunError where there is none, or its run did not come to its end.
        """
        path = Path(folder)
        if not (path / "recipe.yaml").is_file():
            beside = [p.name for p in path.parent.glob("*") if p.name != path.name]
            raise RunError(f"{folder}: holds no run of Luthier's{did_you_mean(path.name, beside)}")
        run = cls(path)
        events = {record["event"]: record for record in run.records}
        if "saved" not in events:
            raise RunError(f"{folder}: this run did not come to its end; go on with: luthier resume {folder}")
        if not all(events.get(check, {}).get("passed", True) for check in ("folded", "self-check")):
            raise RunError(f"{folder}: this run failed its self-check; do not use its model")
        return run

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return read(self.folder / "recipe.yaml")

    @property
    def metrics(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Split -> metric -> value, low, high."""
        path = self.folder / "metrics.json"
        scores: dict[str, dict[str, dict[str, float | None]]] = json.loads(path.read_text()) if path.is_file() else {}
        return scores

    @property
    def records(self) -> list[Record]:
        """The log, line by line; none where there is no log. A last line that was cut off does not count."""
        try:
            lines = (self.folder / "log.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @property
    def has_begun(self) -> bool:
        """Whether it has what going on needs."""
        files_there = all((self.folder / name).is_file() for name in ("recipe.yaml", "environment.json"))
        return files_there and any("id" in record for record in self.records[:1])

    @property
    def took_a_step(self) -> bool:
        return any(record["event"] in ("step", "checkpoint") for record in self.records)

    @property
    def is_done(self) -> bool:
        return any(record["event"] == "done" for record in self.records)

    @property
    def next_step(self) -> str:
        """What to do with a run that was stopped."""
        is_kept = any(self.checkpoint_folder.glob("step-*"))
        return f"go on with: luthier resume {self.folder}" if is_kept else "no checkpoint was written"

    @property
    def id(self) -> str:
        """Drawn at the run's beginning; tells its checkpoints from another run's."""
        return str(self.records[0]["id"])

    @property
    def model_folder(self) -> Path:
        """The plain Hugging Face folder; only of methods that fold."""
        return self.folder / "model"

    @property
    def model_class(self) -> str:
        """The class of transformers that the saved model is one of."""
        names: list[str] = json.loads((self.model_folder / "config.json").read_text())["architectures"]
        return names[0]

    @property
    def adapter_folder(self) -> Path:
        """What was learnt, apart from the base."""
        return self.folder / "adapter"

    @property
    def checkpoint_folder(self) -> Path:
        """What the run goes on from, while it trains."""
        return self.folder / "checkpoints"

    def tell(self, event: str, **fields: Any) -> Record:
        """A record that is not to be logged."""
        return {"event": event, "time": round(time.time(), 3), **fields}

    def log(self, event: str, **fields: Any) -> Record:
        """Add a line to the log, and give it back."""
        record = self.tell(event, **fields)
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        return record

    def begin(self, recipe: Recipe, environment: Mapping[str, Any], step: int) -> None:
        """From here on the run is one of this resolved recipe; what will happen again after the step leaves the log."""
        self.write_recipe(recipe)
        self.write_json("environment.json", environment)
        kept = [record for record in self.records if _stands(record, step)]
        files.write_text(self.folder / "log.jsonl", "".join(json.dumps(record) + "\n" for record in kept))

    def write_json(self, name: str, content: Any) -> None:
        """A JSON file in the folder."""
        files.write_json(self.folder / name, content)

    def add_scores(self, split: str, scores: dict[str, dict[str, float | None]]) -> None:
        """A split's scores into metrics.json."""
        self.write_json("metrics.json", {**self.metrics, split: scores})

    def write_predictions(self, split: str, predictions: Sequence[Prediction], targets: Sequence[Any]) -> None:
        """What was predicted for each row of a split, beside its target."""
        path = self.folder / "predictions" / f"{split}.jsonl"
        path.parent.mkdir(exist_ok=True)
        with path.open("w") as file:
            for prediction, target in zip(predictions, targets, strict=True):
                line = {"target": target, **asdict(prediction)}
                file.write(json.dumps(line, default=_plain) + "\n")

    def predictions(self, split: str) -> list[dict[str, Any]]:
        """The lines of a split's predictions: target, value, scores, and the loss with its counts."""
        with (self.folder / "predictions" / f"{split}.jsonl").open() as file:
            return [json.loads(line) for line in file]

    def write_recipe(self, recipe: Recipe) -> None:
        """The resolved recipe."""
        files.write_text(self.folder / "recipe.yaml", dump(recipe))
        self.__dict__.pop("recipe", None)  # one that was read before is another one

    def load(self, device: str = "auto") -> "tuple[PreTrainedModel, Processor]":
        """The fine-tuned model, ready to predict, and its processor; loaded once and kept."""
        return self._loaded_once(device)

    def load_apart(self, device: str = "auto") -> "tuple[PreTrainedModel, Processor]":
        """The base model with what was learnt hanging on it, not folded into its weights, and its processor.

        Raises RunError where the method keeps nothing apart from the model.
        """
        if not self.adapter_folder.is_dir():
            raise RunError(f"{self.folder}: {self.recipe.method.kind()} changes the base itself; it has no adapter")
        return self._loaded(device, is_folded=False)

    @cache  # noqa: B019 - a run lives as long as its model is wanted
    def _loaded_once(self, device: str) -> "tuple[PreTrainedModel, Processor]":
        return self._loaded(device, is_folded=self.model_folder.is_dir())

    def _loaded(self, device: str, *, is_folded: bool) -> "tuple[PreTrainedModel, Processor]":
        import torch

        from luthier.models.device import choose_device
        from luthier.models.load import Ask, load_model

        if not is_folded and not self.adapter_folder.is_dir():
            raise RunError(f"{self.folder}: its weights are gone; luthier curve leaves them with --keep-models")
        recipe, task, seed = self.recipe, self.recipe.task, self.recipe.training.seed
        plain = {"name": str(self.model_folder), "quantize": "none"}
        source = recipe.model.model_copy(update=plain) if is_folded else recipe.model
        processor = task.load_processor(source)
        model = load_model(source, Ask.of(task), device=choose_device(device), seed=seed, processor=processor)
        task.fit(model, processor)
        if is_folded:
            recipe.method.reopen(model, task, self.model_folder)
        else:
            recipe.method.extend(model, processor)
            recipe.method.apply(model, generator=torch.Generator().manual_seed(seed))
            recipe.method.load(model, self.adapter_folder)
        return model.eval(), processor

    def predict(self, rows: Sequence[Row], *, device: str = "auto") -> list[dict[str, Any]]:
        """The answer for each row, in the task's words.

        Raises DataError where a row is not what the task reads.
        """
        if isinstance(rows, str):
            raise DataError("predict takes a list of texts; put a single one in a list: [text]")
        return self.answer(self._sifted(rows), device=device) if rows else []

    def answer(self, rows: "Dataset", *, device: str = "auto", losses: bool = False) -> list[dict[str, Any]]:
        """The same for rows that were read; with `losses`, the loss of each row's target in its place."""
        from luthier.evaluation.answer import answer

        return answer(*self.load(device), self.recipe.task, rows, losses=losses)

    def _sifted(self, rows: Sequence[Row]) -> "Dataset":
        """Rows out of Python objects, under the task's columns."""
        from luthier.data.sift import PLACE, sift
        from luthier.data.source import DataSource

        layouts = [layout.without_targets() for layout in self.recipe.task.layouts()]
        placed = ((f"row {number}", _as_columns(row, layouts)) for number, row in enumerate(rows))
        sifted = sift(placed, layouts, DataSource(train="rows", duplicates="keep"), where="predict")
        if sifted.num_bad or sifted.rows is None:
            raise DataError(f"predict: {sifted.num_bad} of {sifted.num_rows} rows cannot be used:\n{sifted.listed}")
        return sifted.rows.remove_columns(PLACE)

    def read_rows(self, source: str, *, labelled: bool) -> "tuple[Dataset, list[str]]":
        """Rows of another source under the task's columns, and what was noticed; targets only where labelled."""
        from luthier.data.splits import read_rows

        layouts = self.recipe.task.layouts()
        layouts = layouts if labelled else tuple(layout.without_targets() for layout in layouts)
        names = {column.name for layout in layouts for column in layout.columns}
        given = {ours: theirs for ours, theirs in self.recipe.data.columns.items() if ours in names}
        data = self.recipe.data.model_copy(update={"duplicates": "keep", "columns": given})
        notes: list[str] = []
        try:
            return read_rows(data, source, "rows", layouts, notes), notes
        except DataError as refused:
            if not given:
                raise
            plain, notes = data.model_copy(update={"columns": {}}), []  # perhaps it bears the task's own names
            try:
                return read_rows(plain, source, "rows", layouts, notes), notes
            except DataError:
                raise refused from None

    def evaluate(self, source: str, *, device: str = "auto") -> "tuple[Scores, list[str]]":
        """Scores on other labelled rows, and what was noticed in them."""
        from luthier.evaluation.answer import usual
        from luthier.evaluation.judge import judge
        from luthier.evaluation.score import metrics_of

        rows, notes = self.read_rows(source, labelled=True)
        task = self.recipe.task
        task.require_targets(rows, "rows")
        model, processor = self.load(device)
        prepared = task.prepare(rows, processor)
        scores, *_ = judge(model, task, prepared, processor, metrics_of(task.metrics), **usual(model))
        return scores, notes


def _stands(record: Record, step: int) -> bool:
    if record.get("split") == BEFORE:
        return True
    return record.get("step", 0) <= step and record["event"] not in AT_THE_END


def _plain(value: Any) -> Any:
    """An array's or a numpy number's content."""
    return value.tolist()


def _as_columns(row: Row, layouts: "Sequence[Layout]") -> dict[str, Any]:
    """A text, or several, under the names of the first layout that takes so many.

    Raises DataError where none does.
    """
    if isinstance(row, Mapping):
        return dict(row)
    texts = [row] if isinstance(row, str) else row
    for layout in layouts:
        names = [column.name for column in layout.columns]
        if sum(column.required for column in layout.columns) <= len(texts) <= len(names):
            return dict(zip(names, texts, strict=False))
    names = [column.name for column in layouts[0].columns]
    raise DataError(f"predict: a row has {len(texts)} texts, but this task reads {len(names)}: {', '.join(names)}")
