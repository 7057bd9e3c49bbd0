"""SetFit's `sampling: pairs` beside the setfit library itself: the same pairs in the same order, the same losses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments
from setfit.sampler import ContrastiveDataset

from luthier.component import Facts
from luthier.methods._library_pairs import LibraryPairs
from luthier.methods.setfit import Setfit
from luthier.models import sentences
from luthier.models.load import Ask, load_model
from luthier.models.processor import load_tokenizer
from luthier.models.sentences import Sentences
from luthier.models.source import ModelSource
from luthier.tasks.text_classification import TextClassification
from luthier.training.course import Material, course
from luthier.training.settings import Training
from tests.runs import tiny_model
from tests.tiny import texts

LABELS = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 0])
SEVERAL = np.array([[1, 0], [1, 1], [0, 1], [1, 0], [0, 0]])


@pytest.mark.parametrize("targets", [LABELS, SEVERAL], ids=["one label", "several"])
@pytest.mark.parametrize(
    ("strategy", "iterations"), [("oversampling", None), ("undersampling", None), ("unique", None), ("unique", 3)]
)
def test_pairs_are_the_librarys_in_its_order(targets: np.ndarray, strategy: Any, iterations: int | None) -> None:
    names = [f"t{number}" for number in range(len(targets))]
    theirs = ContrastiveDataset(names, targets.tolist(), targets.ndim == 2, iterations, strategy)
    ours = LibraryPairs(np.ones(len(targets), int), 8, targets=targets, strategy=strategy, num_iterations=iterations)
    expected = [(int(pair["sentence_1"][1:]), int(pair["sentence_2"][1:])) for pair in theirs]
    assert [tuple(pair) for pair in ours.pairs.tolist()] == expected


@pytest.mark.parametrize("seed", [0, 3])
def test_each_step_has_the_librarys_loss(seed: int, tmp_path: Path) -> None:
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.3}
    folder = tiny_model(tmp_path / "model", **still)
    sentences.write(folder, Sentences("mean", False, 64), 32)
    rows = Dataset.from_dict({"text": texts(10), "label": [str(label) for label in LABELS]})
    expected = library_losses(folder, rows, seed, tmp_path)
    found = own_losses(folder, rows, seed)
    assert len(found) == len(expected) > 3
    np.testing.assert_allclose(found, expected, atol=1e-5)


def library_losses(folder: Path, rows: Dataset, seed: int, work: Path) -> list[float]:
    """What the library's training tells of each step."""
    model = SetFitModel.from_pretrained(str(folder), device="cpu")
    arguments = TrainingArguments(
        output_dir=str(work / "out"),
        batch_size=8,
        num_epochs=1,
        body_learning_rate=1e-4,
        warmup_proportion=0.0,  # the library's begins with a step of length zero
        seed=seed,
        logging_strategy="steps",
        logging_steps=1,
        logging_first_step=True,
        save_strategy="no",
        report_to="none",
        show_progress_bar=False,
        use_amp=False,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows)
    losses: list[float] = []
    inner = trainer.st_trainer
    compute = inner.compute_loss

    def noted(*args: Any, **kwargs: Any) -> Any:
        loss = compute(*args, **kwargs)
        losses.append(float(loss[0] if isinstance(loss, tuple) else loss))
        return loss

    inner.compute_loss = noted
    trainer.train()
    return losses


def own_losses(folder: Path, rows: Dataset, seed: int) -> list[float]:
    source = ModelSource(name=str(folder))
    task = TextClassification(max_length=64).resolve(Facts(train=rows))
    processor = load_tokenizer(source)
    model = load_model(source, Ask.of(task), device="cpu", seed=0, processor=processor)
    method = Setfit(sampling="pairs").resolve(Facts(model=model, processor=processor))
    method.apply(model, generator=torch.Generator())
    settings = Training.model_validate(
        {
            "epochs": 1,
            "batch_size": 16,
            "learning_rate": 1e-4,
            "seed": seed,
            "log_every": 1,
            "precision": "fp32",
            "device": "cpu",
            "optimizer": {"kind": "adamw", "weight_decay": 0.0},
            "schedule": {"kind": "linear", "warmup": 0.0},
        }
    ).resolve(Facts(couples_rows=True))
    made = Material(model, processor, task, task.prepare(rows, processor), None)
    return [record["loss"] for record in course(made, method, settings) if record["event"] == "step"]
