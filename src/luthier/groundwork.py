"""What a run stands on before its first step: rows, the model with its method applied, the resolved recipe.

`luthier check` ends here; a run goes on.
"""

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.data.splits import Splits, load
from luthier.errors import RecipeError
from luthier.evaluation.score import metrics_of
from luthier.models.device import choose_device
from luthier.models.flat_trial import lay_flat
from luthier.models.load import Ask, load_model, num_positions
from luthier.models.processor import Processor
from luthier.recipe import Recipe
from luthier.tasks import Task
from luthier.training.watching import watched


@dataclass(frozen=True)
class Rows:
    """Every split, and the task with what it learnt of the training rows."""

    splits: Splits
    task: Task
    device: str


@dataclass(frozen=True)
class Built:
    """A model that is ready to learn."""

    recipe: Recipe
    """Resolved."""
    model: PreTrainedModel
    processor: Processor
    notes: tuple[str, ...]
    """What a user should know of the weights."""


def read_rows(recipe: Recipe) -> Rows:
    """Read the data, and refuse what the task cannot learn or judge, before any weight is loaded.

    Raises DataError or RecipeError.
    """
    device = choose_device(recipe.training.device)
    recipe.training.require(device)
    splits = load(recipe.data, recipe.task.layouts(), seed=recipe.training.seed)
    task = recipe.task.resolve(Facts(device=device, train=splits.train))
    for name, rows in splits.named().items():
        task.require_targets(rows, name)
    for metric in metrics_of(task.metrics):
        metric.require()
    watched(task, recipe.training, has_validation=splits.validation is not None)
    if task.couples_rows and recipe.training.accumulation > 1:
        raise RecipeError("training.accumulation: this task's loss couples the rows of a batch; say 1")
    return Rows(splits, task, device)


def build(recipe: Recipe, rows: Rows) -> Built:
    """Load the model, settle whatever was auto, and apply the method.

    Raises ModelError, MethodError or RecipeError.
    """
    seed, notes = recipe.training.seed, list[str]()
    processor = rows.task.load_processor(recipe.model)
    model = load_model(recipe.model, Ask.of(rows.task), device=rows.device, seed=seed, processor=processor, notes=notes)
    ready = make_ready(recipe, rows, model, processor)
    if recipe.model.attention == "auto":
        lay_flat(model)
    return Built(ready, model, processor, tuple(notes))


def make_ready(recipe: Recipe, rows: Rows, model: PreTrainedModel, processor: Processor) -> Recipe:
    """Settle whatever was auto, fit the model to its task, and apply the method; -> the resolved recipe."""
    train, limit = rows.splits.train, num_positions(model, processor)
    facts = Facts(rows.device, train, len(train), model.num_parameters(), limit, model=model, processor=processor)
    resolved = recipe.model_copy(update={"task": rows.task}).resolve(facts)
    resolved.task.fit(model, processor)
    resolved.method.apply(model, generator=torch.Generator().manual_seed(recipe.training.seed))
    return resolved
