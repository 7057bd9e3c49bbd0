"""What a run stands on before its first step: rows, the model with its method applied, the resolved recipe.

`luthier check` ends here; a run goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.data.few import LabelsOf
from luthier.data.splits import Splits, load
from luthier.errors import RecipeError
from luthier.evaluation.score import metrics_of
from luthier.methods import Stage
from luthier.models.arithmetic import narrow
from luthier.models.device import choose_device, choose_precision
from luthier.models.flat_trial import lay_flat
from luthier.models.load import Ask, load_model, num_positions
from luthier.models.memory import give_back
from luthier.models.processor import Processor
from luthier.models.quantise import MB, num_weights, staying_frozen
from luthier.probing import probe
from luthier.recipe import Recipe
from luthier.tasks import Task
from luthier.tasks._labels import as_labels
from luthier.training.settings import Training
from luthier.training.watching import watched

FEWEST_COMPARED = 4
"""Rows of a batch that are compared with each other: two of each of two classes."""


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
    """What a user should know of the weights and of what was chosen."""


def read_rows(recipe: Recipe) -> Rows:
    """Read the data, and refuse what the task cannot learn or judge, before any weight is loaded.

    Raises DataError or RecipeError.
    """
    rows = load_rows(recipe)
    require_suited(recipe, rows)
    return rows


def load_rows(recipe: Recipe) -> Rows:
    """The rows of a recipe, whatever its method: other recipes of the same data, task, seed and device may share them.

    Raises DataError or RecipeError.
    """
    device = choose_device(recipe.training.device)
    recipe.training.require(device)
    recipe.model.require()
    seed, read_labels = recipe.training.seed, labels_of(recipe.task)
    splits = load(recipe.data, recipe.task.layouts(), seed=seed, labels_of=read_labels)
    task = recipe.task.resolve(Facts(device=device, train=splits.train))
    if recipe.data.n_per_class is not None and getattr(task, "problem", None) == "regression":
        raise RecipeError("data.n_per_class: rows of a regression have measures, no classes; leave it out")
    for name, rows in splits.named().items():
        task.require_targets(rows, name)
    for metric in metrics_of(task.metrics):
        metric.require()
    return Rows(splits, task, device)


def require_suited(recipe: Recipe, rows: Rows) -> None:
    """Raise RecipeError where the recipe's method or settings do not suit its rows."""
    recipe.training.require(rows.device)
    recipe.method.require(rows.task)
    stage = recipe.method.stage(rows.task)
    _require_settings(recipe.training, stage)
    watched(rows.task, recipe.training, has_validation=rows.splits.validation is not None and stage.is_judged)


def labels_of(task: Task) -> LabelsOf:
    """How the labels of a row are read from their field, in a task whose rows have labels."""
    return partial(as_labels, separator=getattr(task, "label_separator", None))


def _require_settings(settings: Training, stage: Stage) -> None:
    """Raise RecipeError where settings would mean nothing for what the method learns by."""
    watching = settings.patience or settings.evaluate_every or settings.score_before
    if not stage.is_judged and (watching or settings.best not in ("auto", "last")):
        raise RecipeError(
            "training.best, patience, evaluate_every, score_before: with this method a model answers only after its "
            "last step; leave them out"
        )
    if stage.batching is not None and settings.batch_tokens is not None:
        raise RecipeError("training.batch_tokens: this method chooses rows by their classes; leave it out")
    if stage.batching is not None and settings.batch_size < FEWEST_COMPARED:
        raise RecipeError(f"training.batch_size: {settings.batch_size} texts are too few to compare; say 32")


def build(
    recipe: Recipe,
    rows: Rows,
    *,
    processor: Processor | None = None,
    load: Callable[..., PreTrainedModel] = load_model,
    lay: Callable[[PreTrainedModel], bool] = lay_flat,
) -> Built:
    """Load the model, settle whatever was auto, and apply the method.

    `processor` is one that was loaded before; `load` and `lay` stand in for `load_model` and `lay_flat`. Raises
    ModelError, MethodError or RecipeError.
    """
    recipe = settled(recipe, rows.device)
    seed, notes = recipe.training.seed, list[str]()
    if processor is None:
        processor = rows.task.load_processor(recipe.model)
    model = load(recipe.model, Ask.of(rows.task), device=rows.device, seed=seed, processor=processor, notes=notes)
    ready = make_ready(recipe, rows, model, processor, probes=True, notes=notes)
    if recipe.model.attention == "auto":
        lay(model)
    if ready.model.narrows(ready.training.precision) and (saved := narrow(model)):
        give_back()
        notes.append(f"model.dtype: frozen weights are held in bf16, as in their file: {saved / MB:,.1f} MB less")
    return Built(ready, model, processor, tuple(notes))


def settled(recipe: Recipe, device: str) -> Recipe:
    """The recipe with what must be known before its model is loaded filled in."""
    source = recipe.model.settled(choose_precision(recipe.training.precision, device))
    return recipe.model_copy(update={"model": source})


def make_ready(
    recipe: Recipe,
    rows: Rows,
    model: PreTrainedModel,
    processor: Processor,
    *,
    probes: bool = False,
    notes: list[str] | None = None,
) -> Recipe:
    """Settle whatever was auto, fit the model to its task, and apply the method; -> the resolved recipe.

    With `probes`, whatever is resolved may compute gradients; what a user should know of it is added to `notes`.
    """
    train, limit = rows.splits.train, num_positions(model, processor) - recipe.method.positions_taken
    size, _ = num_weights(model)
    facts = Facts(
        rows.device,
        train,
        len(train),
        size,
        limit,
        model=model,
        processor=processor,
        num_epochs=recipe.training.about_epochs(len(train)),
        notes=[] if notes is None else notes,
    )
    probed = partial(probe, rows.task, facts, recipe.training.seed) if probes else None
    resolved = recipe.model_copy(update={"task": _laid(rows.task, recipe)}).resolve(replace(facts, probe=probed))
    model.zero_grad(set_to_none=True)
    resolved.task.fit(model, processor)
    resolved.method.extend(model, processor)
    with staying_frozen(model, resolved.method.kind()):
        resolved.method.apply(model, generator=torch.Generator().manual_seed(recipe.training.seed))
    return resolved


def _laid(task: Task, recipe: Recipe) -> Task:
    """The task, which packs no rows by itself where the method cannot take them."""
    packs_by_itself = getattr(task, "packing", None) == "auto" and not recipe.method.takes_packed_rows
    return task.model_copy(update={"packing": False}) if packs_by_itself else task
