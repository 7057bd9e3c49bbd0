"""Multiple choice against transformers' own loss, unlike numbers of choices, and what is an answer."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForMultipleChoice

import luthier
from luthier.data.columns import BadRow, choose
from luthier.errors import LuthierError
from luthier.evaluation.metrics.accuracy import Accuracy
from luthier.evaluation.predict import predict
from luthier.tasks import Batch
from luthier.tasks.multiple_choice import MultipleChoice
from tests.contracts.examples.multiple_choice import build, rows
from tests.tiny import WORDS, tiny, tokenizer

ENCODERS = ("bert", "roberta", "distilbert", "albert", "electra", "deberta-v2", "modernbert")
TASK = MultipleChoice(max_length=64)


def read(choices: Any, answer: Any, **more: Any) -> dict[str, Any]:
    return dict(TASK.layouts()[0].read({"question": "which?", "choices": choices, "answer": answer, **more}, None))


def batch(data: Dataset) -> Batch:
    processor = tokenizer()
    return TASK.collate(TASK.prepare(data, processor)[:], processor)


@pytest.mark.parametrize("family", ENCODERS)
def test_the_loss_is_transformers_own_and_so_is_its_gradient(family: str) -> None:
    made, model = batch(rows(8, fewest=3, most=3)), build(family)
    expected = model(**made.inputs, labels=made.targets).loss
    loss = TASK.loss(model, made)
    torch.testing.assert_close(loss.total.sum() / loss.count.sum(), expected, rtol=1e-5, atol=1e-5)
    model = model.double()
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss = TASK.loss(model, made)
    ours = torch.autograd.grad(loss.total.sum() / loss.count.sum(), parameters, allow_unused=True)
    theirs = torch.autograd.grad(model(**made.inputs, labels=made.targets).loss, parameters, allow_unused=True)
    for found, other in zip(ours, theirs, strict=True):
        assert (found is None) == (other is None)
        if found is not None:
            torch.testing.assert_close(found, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("family", ENCODERS)
def test_other_rows_with_more_choices_change_no_loss(family: str) -> None:
    model, data = build(family), rows(8)
    assert len({len(choices) for choices in data["choices"]}) > 2
    together = TASK.loss(model, batch(data)).total
    for number, total in enumerate(together):
        made = batch(data.select([number]))
        torch.testing.assert_close(total, model(**made.inputs, labels=made.targets).loss, rtol=1e-5, atol=1e-5)


def test_probabilities_are_of_the_rows_own_choices_and_accuracy_counts_them() -> None:
    data, processor = rows(12), tokenizer()
    prepared = TASK.prepare(data, processor)
    found = predict(build("bert"), TASK, prepared, processor, batch_size=5)
    right = []
    for answer, row in zip(found, data, strict=True):
        told = TASK.describe(answer, row)
        assert len(told["scores"]) == len(row["choices"])
        assert sum(told["scores"]) == pytest.approx(1)
        assert told["text"] == row["choices"][told["choice"]]
        assert told["choice"] == int(np.argmax(told["scores"]))
        right.append(told["choice"] == row["answer"])
    metric = Accuracy()
    assert metric.value(metric.rows(found, TASK.references(prepared))) == pytest.approx(np.mean(right))


def test_a_choice_is_read_beside_its_question() -> None:
    data = Dataset.from_dict({"question": ["w1"], "choices": [["w2", "w3 w4"]], "answer": [1]})
    made = batch(data)
    assert made.inputs["input_ids"].tolist() == [[[1, 5, 2, 6, 2, 0], [1, 5, 2, 7, 8, 2]]]
    assert made.inputs["attention_mask"].sum(-1).tolist() == [[5, 6]]
    assert (made.num_tokens, made.num_padding) == (11, 1)
    with_context = batch(data.add_column("context", ["w9"]))
    assert with_context.inputs["input_ids"].tolist() == [[[1, 13, 2, 5, 6, 2, 0], [1, 13, 2, 5, 7, 8, 2]]]


def test_long_rows_lose_the_end_of_the_longer_text_and_are_counted() -> None:
    data = Dataset.from_dict({"question": ["w1 " * 80, "w1"], "choices": [["w2", "w3"]] * 2, "answer": [0, 0]})
    prepared = TASK.prepare(data, tokenizer())
    assert prepared["sizes"][:].tolist() == [[64, 64], [5, 5]]
    assert prepared["input_ids"][0][-2] == 7  # w3 is still there
    assert prepared["cut"][:].tolist() == [True, False]


@pytest.mark.parametrize(
    ("choices", "answer", "number"),
    [
        (["red", "blue"], 1, 1),
        (["red", "blue"], "1", 1),
        (["red", "blue"], "B", 1),
        (["red", "blue"], "a", 0),
        (["red", "blue"], "blue", 1),
        (["B", "A"], "A", 1),
        (["7", "0"], "0", 1),
        ({"text": ["red", "blue"], "label": ["A", "B"]}, "B", 1),
        ({"text": ["red", "blue", "green"], "label": ["1", "2", "3"]}, "1", 0),
    ],
)
def test_an_answer_is_a_number_a_letter_or_a_text(choices: Any, answer: Any, number: int) -> None:
    row = read(choices, answer)
    assert row["answer"] == number
    assert read(**{name: row[name] for name in ("choices", "answer")}) == row


@pytest.mark.parametrize(
    ("choices", "answer", "told"),
    [
        (["red", "blue"], 2, "answer is 2, but there are 2 choices (numbers begin at 0)"),
        (["red", "blue"], -1, "answer is -1, but there are 2 choices"),
        (["red", "blue"], "C", "answer is 'C', but there are 2 choices"),
        (["red", "blue"], "green", "answer is 'green'; it must be a choice's number"),
        (["red", "blue"], True, "answer is True; it must be"),
        (["red", "blue"], ["red"], "answer is ['red']; it must be"),
        (["red"], 0, "choices has 1 text; at least two are needed"),
        ([], 0, "choices has 0 texts"),
        (["red", "blue", "red"], 0, "choices has 'red' twice"),
        (["red", " "], 0, "choices: number 1 is blank"),
        (["red", 7], 0, "choices: number 1 is 7, which is no text"),
        ("red, blue", 0, "choices is 'red, blue'; it must be a list of texts"),
        ({"label": ["A"]}, 0, "choices is None; it must be a list of texts"),
    ],
)
def test_what_is_no_choice_or_no_answer_is_refused(choices: Any, answer: Any, told: str) -> None:
    with pytest.raises(BadRow, match=re.escape(told)):
        read(choices, answer)


def test_the_columns_of_known_sets_are_found() -> None:
    for columns in (
        ["id", "question", "choices", "answerKey"],
        ["sent1", "endings", "label"],
        ["article", "question", "options", "answer"],
    ):
        chosen = choose(columns, TASK.layouts(), {}, where="rows")[1]
        assert set(chosen.values()) == set(columns) - {"id"}


def write_rows(path: Path, num_rows: int) -> Path:
    """Two to four choices, of which the one with w0 is right."""
    random = np.random.default_rng(0)
    with path.open("w") as file:
        for _ in range(num_rows):
            choices = random.choice(WORDS[1:], size=random.integers(2, 5), replace=False).tolist()
            answer = int(random.integers(len(choices)))
            choices[answer] += " w0"
            question = " ".join(random.choice(WORDS[1:], size=3))
            file.write(json.dumps({"question": question, "choices": choices, "answer": answer}) + "\n")
    return path


def test_a_run_learns_to_choose_and_its_model_loads_in_transformers(tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny("bert", head="base").save_pretrained(base)
    tokenizer().save_pretrained(base)
    records: list[Any] = []
    run = luthier.tune(
        model=str(base),
        data={"train": str(write_rows(tmp_path / "rows.jsonl", 120)), "test": 0.1},
        task="multiple-choice",
        training={"epochs": 6, "batch_size": 8, "learning_rate": 3e-3, "precision": "fp32", "seed": 1},
        output=tmp_path / "run",
        on_record=records.append,
    )
    losses = [record["loss"] for record in records if record["event"] == "step"]
    assert losses[-1] < losses[0] / 2
    assert any(record["event"] == "self-check" and record["passed"] for record in records)
    told = run.predict([{"question": "w5 w6", "choices": ["w3", "w4 w0", "w5"]}])[0]
    assert (told["choice"], told["text"]) == (1, "w4 w0")
    model = AutoModelForMultipleChoice.from_pretrained(run.model_folder)
    inputs = tokenizer()(["w5 w6"] * 3, ["w3", "w4 w0", "w5"], padding=True, return_tensors="pt")
    logits = model(**{name: values[None] for name, values in inputs.items()}).logits
    np.testing.assert_allclose(logits.softmax(-1)[0].tolist(), told["scores"], atol=1e-5)


def test_bad_rows_are_told_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = {"question": "w1", "choices": ["w2", "w3"], "answer": 0}
    bad = [good, good | {"answer": 2}, good | {"choices": ["w2", "w2"]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in bad))
    with pytest.raises(LuthierError) as refused:
        luthier.tune(model="none", data=str(path), task="multiple-choice", output=tmp_path / "run")
    assert "rows.jsonl:2: answer is 2, but there are 2 choices" in str(refused.value)
    assert "rows.jsonl:3: choices has 'w2' twice" in str(refused.value)
