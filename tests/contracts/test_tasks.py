"""What every task does with rows: tokens, batches, losses row by row, answers in the rows' order."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedModel

from luthier.component import names
from luthier.evaluation.predict import predict
from luthier.evaluation.score import metrics_of, score
from luthier.tasks import Task
from tests.tiny import PROBLEMS, classification, model_for, rows, tokenizer

Made = tuple[Task, Dataset, Callable[[str], PreTrainedModel]]


def text_classification(problem: str) -> Made:
    task = classification(problem)
    return task, rows(12, problem), lambda family: model_for(task, family)


EXAMPLES: dict[str, list[Callable[[], Made]]] = {
    "text-classification": [lambda problem=problem: text_classification(problem) for problem in PROBLEMS],
}
"""For each kind, at least one resolved task with rows and a model: a new task adds its own here."""

every_example = pytest.mark.parametrize("example", [made for kind in EXAMPLES.values() for made in kind])


def collated(task: Task, data: Dataset, numbers: list[int], padding_side: str = "right") -> Any:
    processor = tokenizer(padding_side)
    return task.collate(task.prepare(data, processor)[numbers], processor)


def test_every_task_has_an_example() -> None:
    assert sorted(EXAMPLES) == sorted(names("tasks"))


@every_example
def test_a_batch_counts_its_tokens_and_its_padding(example: Callable[[], Made]) -> None:
    task, data, _ = example()
    made = collated(task, data, list(range(12)))
    assert made.num_rows == 12
    assert made.num_tokens == int(made.inputs["attention_mask"].sum())
    assert made.num_tokens + made.num_padding == made.inputs["input_ids"].numel()
    assert made.num_padding > 0


@every_example
def test_a_batch_is_padded_as_the_tokenizer_pads(example: Callable[[], Made]) -> None:
    task, data, _ = example()
    for side in ("right", "left"):
        expected = tokenizer(side)(list(data["text"]), padding=True, return_tensors="pt")
        made = collated(task, data, list(range(12)), side).inputs
        assert made.keys() == expected.keys()
        assert all(torch.equal(made[name], expected[name]) for name in made)


@every_example
@pytest.mark.parametrize(("family", "side"), [("bert", "right"), ("gpt2", "right"), ("llama", "left"), ("t5", "right")])
def test_padding_changes_no_rows_loss(example: Callable[[], Made], family: str, side: str) -> None:
    task, data, build = example()
    model = build(family)
    together = task.loss(model, collated(task, data, list(range(12)), side))
    alone = [task.loss(model, collated(task, data, [number], side)) for number in range(12)]
    torch.testing.assert_close(together.total, torch.cat([loss.total for loss in alone]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(together.count, torch.cat([loss.count for loss in alone]), rtol=0, atol=0)


@every_example
def test_the_losses_gradient_reaches_the_model(example: Callable[[], Made]) -> None:
    task, data, build = example()
    model = build("bert")
    task.loss(model, collated(task, data, list(range(12)))).total.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@every_example
def test_answers_come_in_the_rows_order(example: Callable[[], Made]) -> None:
    task, data, build = example()
    model, processor = build("bert"), tokenizer()
    found = predict(model, task, task.prepare(data, processor), processor, batch_size=5)
    alone = [task.predict(model, collated(task, data, [number]))[0] for number in range(12)]
    for one, other in zip(found, alone, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-5)
    np.testing.assert_allclose([p.scores for p in found], [p.scores for p in alone], atol=1e-6)
    np.testing.assert_allclose([p.loss for p in found], [p.loss for p in alone], rtol=1e-5)


@every_example
def test_rows_without_labels_get_answers(example: Callable[[], Made]) -> None:
    task, data, build = example()
    model, processor = build("bert"), tokenizer()
    unlabelled = task.prepare(data.remove_columns("label"), processor)
    assert "target" not in unlabelled.column_names
    found = predict(model, task, unlabelled, processor, batch_size=5)
    labelled = predict(model, task, task.prepare(data, processor), processor, batch_size=5)
    assert [(p.value, p.scores) for p in found] == [(p.value, p.scores) for p in labelled]
    assert [task.describe(p) for p in found] == [task.describe(p) for p in labelled]


@every_example
def test_predicting_leaves_the_models_mode(example: Callable[[], Made]) -> None:
    task, data, build = example()
    processor = tokenizer()
    for mode in (True, False):
        model = build("bert").train(mode)
        predict(model, task, task.prepare(data, processor), processor, batch_size=5)
        assert model.training is mode


@every_example
def test_a_tasks_metrics_have_names_of_their_own_and_score_its_answers(example: Callable[[], Made]) -> None:
    task, data, build = example()
    processor, metrics = tokenizer(), metrics_of(task.metrics)
    assert len({metric.name for metric in metrics}) == len(metrics) > 0
    prepared = task.prepare(data, processor)
    scores = score(metrics, predict(build("bert"), task, prepared, processor, batch_size=5), prepared["target"][:])
    assert list(scores) == [metric.name for metric in metrics]
    assert all(s.value == s.value for s in scores.values())


@every_example
def test_a_resolved_task_resolves_to_itself(example: Callable[[], Made]) -> None:
    from luthier.component import Facts

    task, data, _ = example()
    assert task.resolve(Facts(train=data)) == task


@every_example
def test_a_saved_tokenizer_prepares_the_same(example: Callable[[], Made], tmp_path: Any) -> None:
    task, data, _ = example()
    tokenizer().save_pretrained(tmp_path)
    reloaded = AutoTokenizer.from_pretrained(tmp_path)
    assert task.prepare(data, reloaded).to_list() == task.prepare(data, tokenizer()).to_list()
