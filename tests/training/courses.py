"""What the tests of training share: a small course over rows that can be learnt."""

from typing import Any

import torch

from luthier.component import Facts
from luthier.methods import Method
from luthier.methods.full import Full
from luthier.tasks import Batch
from luthier.training.course import Material, course
from luthier.training.portions import Portion
from luthier.training.settings import Training
from tests.tiny import classification, model_for, separable, tokenizer

Record = dict[str, Any]


def material(method: Method | None = None, *, num_train: int = 30, validation: bool = True, **model: Any) -> Material:
    task, processor = classification(), tokenizer()
    made = model_for(task, initializer_range=0.2, **model)
    (method or Full()).apply(made, generator=torch.Generator().manual_seed(0))
    held_out = task.prepare(separable(9), processor) if validation else None
    return Material(made, processor, task, task.prepare(separable(num_train), processor), held_out)


def settings(**given: Any) -> Training:
    """Resolved settings: batches of ten rows, so that thirty make three steps an epoch."""
    said = {"batch_size": 10, "learning_rate": 1e-2, "device": "cpu", "precision": "fp32", **given}
    return Training.model_validate(said).resolve(Facts(device="cpu"))


def whole(*micro_batches: Batch) -> Portion:
    """A portion that is never cut finer."""
    return lambda num_parts: micro_batches


def run(made: Material, method: Method | None = None, **given: Any) -> list[Record]:
    return list(course(made, method or Full(), settings(**given)))


def events(records: list[Record], event: str) -> list[Record]:
    return [record for record in records if record["event"] == event]
