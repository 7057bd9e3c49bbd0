"""What is planned: a recipe of which the rows and the model's configuration are known, and no weight."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedConfig, PreTrainedModel

from luthier.component import Facts
from luthier.data.splits import Splits
from luthier.errors import RecipeError
from luthier.groundwork import Rows, make_ready, read_rows, settled
from luthier.models import flat
from luthier.models.arithmetic import narrow
from luthier.models.blank import blank_model, faking, is_bf16, read_configuration
from luthier.models.device import choose_device
from luthier.models.load import Ask
from luthier.models.processor import Processor, tokenizer_of
from luthier.planning.blanks import blank_rows, blank_tokenizer
from luthier.recipe import Recipe
from luthier.tasks import Task

MOST_READ = 20_000
"""Rows that are looked through for the longest ones."""
TIMES_TRIED = 4
"""Rows that are made into tokens, in batches: the longest texts need not have the most tokens."""


@dataclass(frozen=True)
class Subject:
    """A recipe with all that can be known of it before weights are loaded."""

    recipe: Recipe
    rows: Rows
    settings: PreTrainedConfig
    processor: Processor
    num_rows: int | None
    """Training rows; None where they are made up."""

    def of(self, **changed: Any) -> "Subject":
        """The same with other parts of the recipe; of `training` the settings that change."""
        training = self.recipe.training.model_copy(update=changed.pop("training", {}))
        recipe = self.recipe.model_copy(update={**changed, "training": training})
        return Subject(recipe, self.rows, self.settings, self.processor, self.num_rows)


@dataclass(frozen=True)
class Ready:
    """What a rehearsal works on: a model without numbers, and the longest rows of a batch."""

    recipe: Recipe
    """Resolved."""
    model: PreTrainedModel
    processor: Processor
    prepared: Dataset
    """Rows of one step, the longest first."""
    narrowed: int = 0
    """Bytes that frozen weights take less than when they are loaded, as long as the run trains."""


def subject_of(recipe: Recipe, *, length: int | None = None, rows: Rows | None = None) -> Subject:
    """What a recipe comes to, with its own rows, or with rows of `length` tokens that need neither data nor tokenizer.

    Raises LuthierError where data or configuration cannot be read.
    """
    if length is None:
        rows = rows or read_rows(recipe)
        settings = read_configuration(recipe.model, Ask.of(rows.task))
        return Subject(recipe, rows, settings, rows.task.load_processor(recipe.model), len(rows.splits.train))
    device = _device(recipe.training.device)
    if device == "cuda" and not torch.cuda.is_available() and recipe.training.precision == "auto":
        training = recipe.training.model_copy(update={"precision": "bf16"})
        recipe = recipe.model_copy(update={"training": training})
    blank, made = blank_rows(recipe.task, length, recipe.training.batch_size)
    task = blank.resolve(Facts(device=device, train=made))
    settings = read_configuration(recipe.model, Ask.of(task))
    _require_positions(settings, length)
    return Subject(recipe, Rows(Splits(made, None, None), task, device), settings, blank_tokenizer(settings), None)


@contextmanager
def ready(subject: Subject) -> Iterator[Ready]:
    """The subject's model with its method applied; fake tensors are made for as long as the context lasts."""
    rows, recipe = subject.rows, settled(subject.recipe, subject.rows.device)
    settings, ask = copy.deepcopy(subject.settings), Ask.of(rows.task)
    is_narrow = is_bf16(recipe.model, settings)
    pad_token_id = tokenizer_of(subject.processor).pad_token_id
    with faking():
        model = blank_model(settings, ask, recipe.model, device=rows.device, pad_token_id=pad_token_id)
        resolved = make_ready(recipe, replace(rows, task=_unpacked(rows.task)), model, subject.processor)
        if recipe.model.attention == "auto" and flat.may_take(model):
            setattr(model, flat.FIRST_POSITION, 0)
        if _packs(rows):
            task = resolved.task.model_copy(update={"packing": True})
            resolved = resolved.model_copy(update={"task": task})
        prepared = _longest(resolved, rows.splits.train, subject.processor)
        narrows = is_narrow and resolved.model.narrows(resolved.training.precision)
        narrowed = narrow(model, is_known=True) if narrows else 0
        yield Ready(resolved, model, subject.processor, prepared, narrowed)


def _unpacked(task: Task) -> Task:
    """Whether a model packs rows is found out by its answers, and here it has none."""
    return task.model_copy(update={"packing": False}) if hasattr(task, "packing") else task


def _packs(rows: Rows) -> bool:
    return getattr(rows.task, "packing", False) in (True, "auto" if rows.device == "cuda" else True)


def _longest(recipe: Recipe, rows: Dataset, processor: Processor) -> Dataset:
    """Prepared rows of one step that takes the most."""
    size = recipe.training.batch_size
    near = rows.select(np.linspace(0, len(rows) - 1, MOST_READ).astype(int)) if len(rows) > MOST_READ else rows
    lengths = [sum(len(str(value)) for value in row.values()) for row in near]
    tried = near.select(np.argsort(lengths, kind="stable")[::-1][: TIMES_TRIED * size])
    prepared = recipe.task.prepare(tried, processor, training=True)
    order = np.argsort(prepared["length"][:], kind="stable")[::-1]
    enough = size if len(rows) >= size else len(order)
    return prepared.select(np.resize(order, enough))


def _device(asked: str) -> str:
    """The device that is asked for, be it here or not."""
    return asked if asked in ("cuda", "cpu") else choose_device(asked)


def _require_positions(settings: PreTrainedConfig, length: int) -> None:
    most: int | None = getattr(settings, "max_position_embeddings", None)
    if most is not None and length > most:
        raise RecipeError(f"--length: {length}, but this model takes {most} tokens at most")
