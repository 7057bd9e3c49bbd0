"""What every task does with rows: tokens, batches, losses row by row, answers in the rows' order."""

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from luthier.component import Facts, names
from luthier.data.columns import choose
from luthier.evaluation.judge import cheap, judge
from luthier.evaluation.predict import predict
from luthier.evaluation.score import metrics_of
from luthier.tasks import Batch, Prediction
from tests.contracts.examples._example import Example

EXAMPLES: list[Example] = [
    example
    for kind in names("tasks")
    for example in import_module(f"tests.contracts.examples.{kind.replace('-', '_')}").EXAMPLES
]
"""Of each kind at least one: a new task adds its own file in tests/contracts/examples/."""

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.task.kind()}-{e.name}")
every_family = pytest.mark.parametrize(
    ("example", "family", "side"),
    [(example, *family) for example in EXAMPLES for family in example.families],
    ids=lambda value: f"{value.task.kind()}-{value.name}" if isinstance(value, Example) else value,
)


def collated(example: Example, numbers: list[int], side: str = "right") -> Batch:
    processor = example.processor(side)
    return example.task.collate(example.task.prepare(example.rows, processor)[numbers], processor)


def num_prepared(example: Example) -> int:
    return len(example.task.prepare(example.rows, example.processor("right")))


def answered(example: Example, rows: Dataset | None = None, **how: Any) -> list[Prediction]:
    family, side = example.families[0]
    processor = example.processor(side)
    prepared = example.task.prepare(example.rows if rows is None else rows, processor)
    return predict(example.build(family), example.task, prepared, processor, batch_size=5, **how)


@every_example
def test_a_batch_counts_its_tokens_and_its_padding(example: Example) -> None:
    made = collated(example, list(range(num_prepared(example))))
    assert made.num_rows == num_prepared(example)
    if "input_ids" in made.inputs and "attention_mask" in made.inputs:  # a mask of sound counts samples
        assert made.num_tokens == int(made.inputs["attention_mask"].sum())
        assert made.num_tokens + made.num_padding == made.inputs["attention_mask"].numel()
    assert made.num_tokens > 0 <= made.num_padding


@every_family
def test_padding_changes_no_rows_loss(example: Example, family: str, side: str) -> None:
    if example.task.couples_rows:
        pytest.skip("a row's loss is among the others")
    model, numbers = example.build(family), list(range(num_prepared(example)))
    together = example.task.loss(model, collated(example, numbers, side))
    alone = [example.task.loss(model, collated(example, [number], side)) for number in numbers]
    torch.testing.assert_close(together.total, torch.cat([loss.total for loss in alone]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together.count, torch.cat([loss.count for loss in alone]), rtol=0, atol=0)


@every_example
def test_the_losses_gradient_reaches_the_model(example: Example) -> None:
    model = example.build(example.families[0][0])
    made = collated(example, list(range(num_prepared(example))), example.families[0][1])
    example.task.loss(model, made).total.sum().backward()
    reached = [p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters() if p.requires_grad]
    assert sum(reached) > 0.9 * len(reached)


@every_example
def test_answers_come_in_the_rows_order(example: Example) -> None:
    if example.task.couples_rows:
        pytest.skip("a row's answer is among the others")
    found = answered(example)
    assert len(found) == len(example.rows)
    alone = [answered(example, example.rows.select([number]))[0] for number in range(len(example.rows))]
    for one, other in zip(found, alone, strict=True):
        if isinstance(one.value, float):
            assert one.value == pytest.approx(other.value, abs=1e-5)
        else:
            assert one.value == other.value
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    np.testing.assert_allclose([p.loss for p in found], [p.loss for p in alone], rtol=1e-4)


@every_example
def test_rows_without_labels_get_answers(example: Example) -> None:
    if example.task.couples_rows:
        pytest.skip("rows are judged among each other, and what is told of one alone is another thing")
    unlabelled = example.rows.remove_columns(sorted(example.targets & set(example.rows.column_names)))
    processor = example.processor(example.families[0][1])
    assert "target" not in example.task.prepare(unlabelled, processor).column_names
    found, labelled = answered(example, unlabelled), answered(example)
    told = [example.task.describe(p, row) for p, row in zip(found, unlabelled, strict=True)]
    assert told == [example.task.describe(p, row) for p, row in zip(labelled, unlabelled, strict=True)]


@every_example
def test_losses_alone_are_those_of_whole_answers(example: Example) -> None:
    whole, alone = answered(example), answered(example, answers=False)
    np.testing.assert_allclose([p.loss for p in alone], [p.loss for p in whole], rtol=1e-5)
    assert [p.count for p in alone] == [p.count for p in whole]
    assert all(p.value is None for p in alone) or not example.task.generates


@every_example
def test_predicting_leaves_the_models_mode(example: Example) -> None:
    family, side = example.families[0]
    processor = example.processor(side)
    prepared = example.task.prepare(example.rows, processor)
    for mode in (True, False):
        model = example.build(family).train(mode)
        predict(model, example.task, prepared, processor, batch_size=5, answers=False)
        assert model.training is mode


@every_example
def test_a_tasks_metrics_have_names_of_their_own_and_score_its_answers(example: Example) -> None:
    metrics, (family, side) = metrics_of(example.task.metrics), example.families[0]
    assert len({metric.name for metric in metrics}) == len(metrics) > 0
    assert "loss" in {metric.name for metric in cheap(example.task, metrics)}
    processor = example.processor(side)
    prepared = example.task.prepare(example.rows, processor)
    scores, predictions, references = judge(
        example.build(family), example.task, prepared, processor, metrics, batch_size=5
    )
    assert list(scores) == [metric.name for metric in metrics]
    assert len(predictions) == len(references) == len(example.rows)
    assert all(s.value == s.value for s in scores.values())


@every_example
def test_a_resolved_task_resolves_to_itself(example: Example) -> None:
    assert example.task.resolve(Facts(train=example.rows)) == example.task


@every_example
def test_a_saved_processor_prepares_the_same(example: Example, tmp_path: Any) -> None:
    made = example.processor("right")
    made.save_pretrained(tmp_path)
    reloaded = type(made).from_pretrained(tmp_path)
    prepared = [example.task.prepare(example.rows, processor).to_list() for processor in (made, reloaded)]
    assert prepared[0] == prepared[1]


@every_example
def test_a_row_that_was_read_is_read_again_as_it_is(example: Example) -> None:
    layout, chosen = choose(example.rows.column_names, example.task.layouts(), {}, where="rows")
    assert set(chosen) == set(example.rows.column_names)
    for row in example.rows:
        assert layout.read(dict(row), None) == row
