"""One task that bodies are judged by: a model with the task's head, its rows, and its metrics.

Weights go into the model where it stands, and its own come back: nothing is written, and nothing is loaded twice.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel

from luthier.data.splits import load
from luthier.errors import MergeError
from luthier.evaluation.metrics import Metric
from luthier.evaluation.score import metrics_of
from luthier.groundwork import labels_of, read_rows
from luthier.merging.parents.names import aligned
from luthier.models.device import choose_device
from luthier.models.heads import NEW
from luthier.models.load import Ask, load_model
from luthier.models.processor import Processor
from luthier.recipe import Recipe, read
from luthier.run import Run
from luthier.tasks import Task


@dataclass(frozen=True)
class Subject:
    """A task, and a model that answers it."""

    name: str
    task: Task
    model: PreTrainedModel
    processor: Processor
    splits: Mapping[str, Dataset]
    """Rows as they were read."""
    main: Metric
    """What the run was judged by."""
    limit: int | None = None
    """Most rows of a split that are judged."""
    _prepared: dict[str, Dataset] = field(default_factory=dict, repr=False)

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        return metrics_of(self.task.metrics)

    def rows(self, split: str) -> Dataset:
        """A split's rows as tokens, made once.

        Raises MergeError where the task has none.
        """
        if split not in self.splits:
            raise MergeError(f"{self.name}: has no {split} rows to judge a merge by; its recipe says data.{split}")
        if split not in self._prepared:
            rows = self.splits[split]
            if self.limit is not None and self.limit < len(rows):
                rows = rows.shuffle(seed=0).select(range(self.limit))
            self._prepared[split] = self.task.prepare(rows, self.processor)
        return self._prepared[split]

    @cached_property
    def body(self) -> dict[str, Tensor]:
        """What a merge may replace, where it is: all but the head, which answers this task alone.

        What predicts words is no such head: it belongs to the words.
        """
        states = self.model.state_dict()
        output = self.model.get_output_embeddings()
        names = {id(module): name for name, module in self.model.named_modules()}
        kept = (f"{self.model.base_model_prefix}.", *([f"{names[id(output)]}."] if id(output) in names else []))
        return (
            states if self.model.base_model is self.model else {n: t for n, t in states.items() if n.startswith(kept)}
        )

    @contextmanager
    def wearing(self, tensors: Mapping[str, Tensor]) -> Iterator[int]:
        """The model with these weights in the place of its own, which come back after; -> how many were replaced.

        Raises MergeError where none fits, or one has another shape.
        """
        called = aligned(tensors, self.body)
        if not called:
            raise MergeError(f"{self.name}: no tensor of the merge is one of its model's; they are of other kinds")
        for name, theirs in called.items():
            if tensors[theirs].shape != self.body[name].shape:
                told = f"{tuple(tensors[theirs].shape)}, in the task's model {tuple(self.body[name].shape)}"
                raise MergeError(f"{self.name}: {theirs} is {told}; judge the merge on runs of its own size")
        own = {name: self.body[name].clone() for name in called}
        try:
            self._put({name: tensors[theirs] for name, theirs in called.items()})
            yield len(called)
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            self.body[name].copy_(tensor)


def of_run(folder: Path, *, limit: int | None, device: str) -> Subject:
    """A finished run: its model, and the rows that it did not learn from.

    Raises MergeError where it keeps no plain model.
    """
    run = Run.open(folder)
    if not run.model_folder.is_dir():
        raise MergeError(f"{folder}: keeps an adapter and no plain model, so no merged body goes into it")
    recipe = run.recipe
    splits = load(
        recipe.data, recipe.task.layouts(), seed=recipe.training.seed, labels_of=labels_of(recipe.task)
    ).named()
    model, processor = run.load(device)
    unseen = {name: rows for name, rows in splits.items() if name != "train"}
    return Subject(folder.resolve().name, recipe.task, model, processor, unseen, _main(recipe, recipe.task), limit)


def of_recipe(path: Path, *, model: Path, limit: int | None, device: str) -> Subject:
    """A recipe's rows and task, answered by a model's folder itself.

    Raises MergeError where the model has no head for the task.
    """
    recipe = read(path)
    rows = read_rows(recipe)
    source, task = recipe.model.model_copy(update={"name": str(model), "quantize": "none"}), rows.task
    processor = task.load_processor(source)
    loaded = load_model(
        source, Ask.of(task), device=choose_device(device), seed=recipe.training.seed, processor=processor
    )
    if new := sorted(getattr(loaded, NEW, ())):
        raise MergeError(
            f"{path.name}: {model.name} has no head for {task.kind()} ({new[0]} would be drawn by chance); name the "
            "folder of a run of this task, whose head the merged body then gets"
        )
    task.fit(loaded, processor)
    unseen = {name: each for name, each in rows.splits.named().items() if name != "train"}
    return Subject(path.stem, task, loaded.eval(), processor, unseen, _main(recipe, task), limit)


def _main(recipe: Recipe, task: Task) -> Metric:
    """The metric that chose a run's best state, or the task's first."""
    metrics = {metric.name: metric for metric in metrics_of(task.metrics)}
    return metrics.get(recipe.training.best, next(iter(metrics.values())))
