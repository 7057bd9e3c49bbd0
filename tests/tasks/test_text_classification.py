"""Text classification against torch's and transformers' own losses, and what it makes of labels."""

from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn import functional as F

from luthier.component import Facts
from luthier.errors import DataError, LuthierError
from luthier.tasks.text_classification import TextClassification
from tests.tiny import LABELS, PROBLEMS, batch, classification, model_for, rows, tiny, tokenizer

FAMILIES = ("bert", "roberta", "distilbert", "gpt2", "llama", "t5", "bart", "deberta-v2")


def table(*labels: Any) -> Dataset:
    return Dataset.from_dict({"text": ["w1"] * len(labels), "label": list(labels)})


def resolved(*labels: Any, **settings: Any) -> TextClassification:
    return TextClassification.model_validate(settings).resolve(Facts(train=table(*labels)))


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_mean_loss_is_transformers_own(family: str, problem: str) -> None:
    task = classification(problem)
    model, made = model_for(task, family), batch(task, rows(12, problem))
    loss = task.loss(model, made)
    expected = model(**made.inputs, labels=made.targets).loss
    torch.testing.assert_close(loss.total.sum() / loss.count.sum(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_weighted_and_smoothed_cross_entropy_is_torchs(smoothing: float) -> None:
    weights = (0.5, 2.0, 1.25)
    task = classification(class_weights=weights, label_smoothing=smoothing)
    model, made = model_for(task), batch(task, rows(12))
    loss = task.loss(model, made)
    logits = model(**made.inputs).logits
    expected = F.cross_entropy(logits, made.targets, torch.tensor(weights), label_smoothing=smoothing)
    torch.testing.assert_close(loss.total.sum() / loss.count.sum(), expected, rtol=1e-6, atol=0)


def test_weighted_binary_cross_entropy_is_torchs() -> None:
    weights = (0.5, 2.0, 1.25)
    task = classification("multi-label", class_weights=weights)
    model, made = model_for(task), batch(task, rows(12, "multi-label"))
    loss = task.loss(model, made)
    logits = model(**made.inputs).logits
    expected = F.binary_cross_entropy_with_logits(logits, made.targets, torch.tensor(weights))
    torch.testing.assert_close(loss.total.sum() / loss.count.sum(), expected, rtol=1e-6, atol=0)


def test_smoothing_draws_each_of_several_labels_to_a_half() -> None:
    task = classification("multi-label", label_smoothing=0.2)
    model, made = model_for(task), batch(task, rows(12, "multi-label"))
    logits = model(**made.inputs).logits
    smooth = torch.where(made.targets > 0.5, 0.9, 0.1)
    expected = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none").sum(-1)
    torch.testing.assert_close(task.loss(model, made).total, expected)


def test_a_predictions_loss_is_neither_weighted_nor_smoothed() -> None:
    plain, adorned = classification(), classification(class_weights=(0.5, 2.0, 1.25), label_smoothing=0.2)
    model, made = model_for(plain), batch(plain, rows(12))
    assert adorned.predict(model, made) == plain.predict(model, made)
    nll = [-np.log(p.scores[target]) for p, target in zip(plain.predict(model, made), made.targets, strict=True)]
    np.testing.assert_allclose([p.loss for p in plain.predict(model, made)], nll, rtol=1e-5)


def test_automatic_class_weights_are_scikit_learns_balanced_ones() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = ["a"] * 5 + ["b"] * 2 + ["c"]
    expected = compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=labels)
    assert resolved(*labels, class_weights="auto").class_weights == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels", "problem", "names"),
    [
        (("b", "a"), "single-label", ("a", "b")),
        (("10", "9", "-1"), "single-label", ("-1", "9", "10")),
        ((3, 1, 2), "single-label", ("1", "2", "3")),
        ((True, False), "single-label", ("False", "True")),
        (("0.5", "1"), "regression", ()),
        ((1.0, 2.0), "single-label", ("1.0", "2.0")),
        (("1.5", "good"), "single-label", ("1.5", "good")),
        ((["b", "a"], []), "multi-label", ("a", "b")),
    ],
)
def test_the_labels_tell_the_problem(labels: Any, problem: str, names: Any) -> None:
    task = resolved(*labels)
    assert (task.problem, task.labels) == (problem, names)


def test_a_separator_makes_several_labels_of_one_field() -> None:
    task = resolved("b | a", "a", "c|b|", label_separator="|")
    assert (task.problem, task.labels) == ("multi-label", ("a", "b", "c"))
    prepared = task.prepare(table("c|a"), tokenizer())
    assert prepared["target"][:].tolist() == [[1.0, 0.0, 1.0]]


def test_the_configuration_is_what_transformers_saves() -> None:
    config = tiny("bert", num_labels=3).config.to_dict() | classification().configuration()
    assert config["id2label"] == {0: "good", 1: "neutral", 2: "poor"}
    assert config["label2id"] == {"good": 0, "neutral": 1, "poor": 2}
    assert classification("multi-label").configuration()["problem_type"] == "multi_label_classification"
    assert classification("regression").configuration() == {"num_labels": 1, "problem_type": "regression"}


def test_a_threshold_chooses_labels() -> None:
    task = classification("multi-label", threshold=0.3)
    model, made = model_for(task), batch(task, rows(4, "multi-label"))
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.2, 0.31, 0.9]).logit())
    prediction = task.predict(model, made)[0]
    assert prediction.value == (1, 2)
    assert task.describe(prediction, {})["labels"] == ["neutral", "poor"]


def test_a_description_names_the_label_and_every_probability() -> None:
    task = classification()
    model = model_for(task)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
    told = task.describe(task.predict(model, batch(task, rows(3)))[0], {})
    assert told["label"] == "poor"
    assert told["score"] == told["scores"]["poor"] == pytest.approx(0.5)
    assert list(told["scores"]) == list(LABELS)


def test_long_texts_lose_their_end() -> None:
    task = classification(max_length=5)
    prepared = task.prepare(Dataset.from_dict({"text": ["w1 w2 w3 w4 w5"]}), tokenizer())
    assert prepared["input_ids"][:].tolist() == [[1, 5, 6, 7, 2]]
    assert prepared["length"][:].tolist() == [5]


def test_pairs_are_told_apart() -> None:
    pairs = Dataset.from_dict({"text": ["w1"], "text_pair": ["w2 w3"]})
    processor = tokenizer(model_input_names=["input_ids", "token_type_ids", "attention_mask"])
    prepared = classification().prepare(pairs, processor)
    assert prepared["input_ids"][:].tolist() == [[1, 5, 2, 6, 7, 2]]
    assert prepared["token_type_ids"][:].tolist() == [[0, 0, 0, 1, 1, 1]]


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        (("a", "a"), {}, "every row has the label 'a'"),
        (("a", "b"), {"labels": ["a", "c"]}, "task.labels: the training rows have 'b' too"),
        (("a", "b"), {"class_weights": [1.0]}, "task.class_weights: 1 weights for 2 labels: a, b"),
        (tuple(map(str, range(30))), {}, "30 different labels in 30 rows"),
        (("a", "b"), {"labels": ["a", "b", "c"]}, "2 rows are fewer than the 3 labels"),
        ((["a", "b", "c"], ["a"]), {}, "2 rows are fewer than the 3 labels"),
        (("d", "a", "c", "b"), {"labels": ["a", "b"]}, "the training rows have 'c', 'd' too"),
        (([], []), {"problem": "multi-label"}, "data.train: no row has a label"),
        (("0.5", "1"), {"class_weights": [1.0, 2.0]}, "task.class_weights"),
        (("0.5", "1"), {"label_smoothing": 0.1}, "task.label_smoothing"),
        (("0.5", "1"), {"labels": ["a", "b"]}, "task.labels"),
        (("a", "b"), {"threshold": 0.4}, "task.threshold"),
        (("a", "b"), {"label_separator": "|", "problem": "single-label"}, "task.label_separator"),
    ],
)
def test_what_does_not_fit_the_labels_is_refused(labels: Any, settings: Any, message: str) -> None:
    with pytest.raises(LuthierError) as caught:
        resolved(*labels, **settings)
    assert message in str(caught.value)


def refusal(task: TextClassification, *labels: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        task.require_targets(table(*labels), "test")
    return str(caught.value).splitlines()


def test_every_label_that_training_lacks_is_counted_before_the_first_step() -> None:
    assert refusal(classification(), "god", "poor", "x", "god", "good") == [
        "data.test: 3 of 5 rows have labels that the training rows have not:",
        "  'god' in 2 rows; did you mean good?",
        "  'x' in 1 row",
        "Mend them, or give training rows that have them",
    ]
    assert refusal(classification("multi-label"), ["god", "x"], ["x"], [])[:3] == [
        "data.test: 2 of 3 rows have labels that the training rows have not:",
        "  'x' in 2 rows",
        "  'god' in 1 row; did you mean good?",
    ]


def test_of_many_unknown_labels_ten_are_shown() -> None:
    lines = refusal(classification(), *(f"label {number}" for number in range(25)))
    assert len(lines) == 1 + 10 + 1 + 1
    assert lines[-2] == "  and 15 more"


def test_targets_of_another_problem_are_counted() -> None:
    assert refusal(classification("regression"), "much", "1", "nan", "much")[:2] == [
        "data.test: labels of 3 of 4 rows are no finite numbers, but this is a regression:",
        "  'much' in 2 rows",
    ]
    assert refusal(classification(), ["good"], ["good", "poor"], [])[:3] == [
        "data.test: 2 of 3 rows have not one label, but this is a single-label problem:",
        "  'good, poor' in 1 row",
        "  'none' in 1 row",
    ]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_targets_that_can_be_used_and_rows_without_any_are_let_pass(problem: str) -> None:
    data = rows(40, problem, seed=1)
    classification(problem).require_targets(data, "test")
    classification(problem).require_targets(data.remove_columns("label"), "test")


@pytest.mark.parametrize("problem", PROBLEMS)
def test_rows_are_prepared_alike_in_memory_and_in_a_file(problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task, data, processor = classification(problem), rows(600, problem), tokenizer()
    held = task.prepare(data, processor)
    assert held["input_ids"][:][599].tolist() == processor(data["text"][599])["input_ids"]
    monkeypatch.setattr("luthier.data.spool.CHUNK_BYTES", 0)
    monkeypatch.setattr("luthier.data.spool.Spool.__init__.__defaults__", (0,))
    filed = task.prepare(data, processor)
    assert filed.features == held.features
    assert filed.to_list() == held.to_list()


@pytest.mark.parametrize(
    ("task", "label", "message"),
    [
        (classification(), "god", "label 'god' is not among the training rows' labels; did you mean good"),
        (classification("regression"), "much", "label 'much' is no finite number"),
        (classification("regression"), "nan", "label 'nan' is no finite number"),
        (classification(), ["good", "poor"], "a row has 2 labels"),
    ],
)
def test_a_label_that_cannot_be_used_is_refused(task: TextClassification, label: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        task.prepare(table(label), tokenizer())
    assert message in str(caught.value)


def test_a_batch_is_padded_as_the_tokenizer_pads() -> None:
    task, data = classification(), rows(12)
    for side in ("right", "left"):
        expected = tokenizer(side)(list(data["text"]), padding=True, return_tensors="pt")
        made = batch(task, data, padding_side=side).inputs
        assert made.keys() == expected.keys()
        assert all(torch.equal(made[name], expected[name]) for name in made)


def test_rows_that_lose_tokens_are_told() -> None:
    prepared = classification(max_length=8).prepare(rows(30, longest=20), tokenizer())
    whole = classification(max_length=100).prepare(rows(30, longest=20), tokenizer())
    assert prepared["cut"][:].tolist() == (whole["length"][:] > 8).tolist()
    assert any(prepared["cut"][:])
