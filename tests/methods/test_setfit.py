"""SetFit: a run from a few rows, its files in three libraries' hands, and what it refuses."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from setfit import SetFitModel
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

import luthier
from luthier.component import Facts
from luthier.errors import LuthierError, MethodError, RecipeError
from luthier.methods._classifier import Penalty, by_torch, logistic, temperature
from luthier.methods.setfit import Setfit
from luthier.run import Record, Run
from luthier.tasks.text_classification import TextClassification
from tests.runs import tiny_model
from tests.tiny import WORDS, classification, model_for

PACE: dict[str, Any] = {"learning_rate": 2e-3, "precision": "fp32", "log_every": 5}
PLAIN = Penalty(1.0, "none", 0.0)
TOPICS = {"alpha": WORDS[:8], "beta": WORDS[8:16], "gamma": WORDS[16:24]}


def few_rows(path: Path, num_per_class: int, *, several: bool = False, seed: int = 0) -> Path:
    """Texts whose words tell their topic; with `several`, every third text is of two topics."""
    random = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(num_per_class):
            for topic, words in TOPICS.items():
                chosen, labels = list(random.choice(words, 6)), [topic]
                if several and number % 3 == 0 and topic != "gamma":
                    chosen[:3], labels = random.choice(TOPICS["gamma"], 3), [topic, "gamma"]
                own = WORDS[24 + int(random.integers(30))]
                writer.writerow([" ".join([*chosen, own]), "|".join(labels)])
    return path


def setfit_run(folder: Path, *, several: bool = False, **settings: Any) -> tuple[Run, list[Record]]:
    records: list[Record] = []
    separator = {"label_separator": "|"} if several else {}
    arguments: dict[str, Any] = {
        "model": str(tiny_model(folder / "base", initializer_range=0.3)),
        "data": {
            "train": str(few_rows(folder / "rows.csv", 8, several=several)),
            "test": str(few_rows(folder / "test.csv", 20, several=several, seed=1)),
            "validation": None,
        },
        "task": {"kind": "text-classification", **separator},
        "method": "setfit",
        "training": {"steps": 60, **PACE},
        "output": folder / "run",
    }
    return luthier.tune(**arguments | settings, on_record=records.append), records


def test_eight_rows_a_class_are_learnt_and_the_setfit_library_answers_the_same(tmp_path: Path) -> None:
    run, records = setfit_run(tmp_path)
    assert run.metrics["test"]["accuracy"]["value"] > 0.9
    assert records[-2]["passed"]
    texts = ["w1 w2 w3 w30", "w9 w10 w11", "w17 w18 w19 w20"]
    ours = [list(answer["scores"].values()) for answer in run.predict(texts)]
    theirs = SetFitModel.from_pretrained(str(run.model_folder), device="cpu")
    np.testing.assert_allclose(ours, theirs.predict_proba(texts, as_numpy=True), atol=1e-5)
    assert list(theirs.predict(texts)) == [answer["label"] for answer in run.predict(texts)]
    assert "SetFitModel.from_pretrained" in (run.folder / "README.md").read_text()


def test_two_classes_and_several_labels_are_read_by_the_library_too(tmp_path: Path) -> None:
    (tmp_path / "several").mkdir()
    run, _ = setfit_run(tmp_path / "several", several=True)
    assert run.recipe.task.problem == "multi-label"  # type: ignore[attr-defined]
    assert run.metrics["test"]["f1-macro"]["value"] > 0.6
    texts = ["w1 w2 w3 w30", "w9 w10 w17 w18"]
    ours = [list(answer["scores"].values()) for answer in run.predict(texts)]
    theirs = SetFitModel.from_pretrained(str(run.model_folder), device="cpu")
    np.testing.assert_allclose(ours, theirs.predict_proba(texts, as_numpy=True), atol=1e-5)
    assert theirs.predict(texts, as_numpy=True).shape == (2, 3)

    two = tmp_path / "two"
    two.mkdir()
    rows = [line for line in few_rows(two / "all.csv", 8).read_text().splitlines() if "gamma" not in line]
    (two / "two.csv").write_text("\n".join(rows) + "\n")
    run, _ = setfit_run(two, data={"train": str(two / "two.csv"), "validation": None})
    ours = [list(answer["scores"].values()) for answer in run.predict(texts)]
    theirs = SetFitModel.from_pretrained(str(run.model_folder), device="cpu")
    np.testing.assert_allclose(ours, theirs.predict_proba(texts, as_numpy=True), atol=1e-5)


def test_it_stops_when_the_classes_are_apart(tmp_path: Path) -> None:
    _, records = setfit_run(
        tmp_path,
        method={"kind": "setfit", "enough": 0.2},
        training={"steps": 400, **PACE},
    )
    steps = [record for record in records if record["event"] == "step"]
    assert steps[-1]["loss"] <= 0.2 < min(record["loss"] for record in steps[:-1])
    assert steps[-1]["step"] < 400


def test_validation_rows_calibrate_and_do_not_choose(tmp_path: Path) -> None:
    data = {
        "train": str(few_rows(tmp_path / "rows.csv", 8)),
        "validation": str(few_rows(tmp_path / "held.csv", 10, seed=2)),
    }
    run, records = setfit_run(tmp_path, data=data)
    (settled,) = [record for record in records if record["event"] == "settled"]
    assert "30 validation rows" in settled["notes"][0]
    assert not [record for record in records if record["event"] == "evaluation"]
    assert run.metrics["validation"]["accuracy"]["value"] > 0.7
    with pytest.raises(RecipeError, match=r"training\.best"):
        setfit_run(tmp_path, data=data, training={"best": "accuracy"}, output=tmp_path / "other")


def test_the_libraries_pairs_learn_too_and_a_class_may_have_a_single_row(tmp_path: Path) -> None:
    run, records = setfit_run(
        tmp_path,
        method={"kind": "setfit", "sampling": "pairs"},
        training={"epochs": 1, **PACE},
    )
    num_pairs = 2 * 24 * 16 // 2  # 24 texts: 192 of two labels, 108 of one
    assert [r["steps"] for r in records if r["event"] == "trained"] == [2 * 192 // 16] == [num_pairs // 16]
    assert run.metrics["test"]["accuracy"]["value"] > 0.6

    rows = tmp_path / "single.csv"
    rows.write_text((tmp_path / "rows.csv").read_text() + "w50 w51 w52,alone\n")
    run, _ = setfit_run(tmp_path, data={"train": str(rows), "validation": None}, output=tmp_path / "single")
    assert run.predict(["w50 w51 w52"])[0]["label"] == "alone"


def test_many_classes_are_learnt(tmp_path: Path) -> None:
    rows = tmp_path / "many.csv"
    lines = [
        f"{word} {word} {word} {WORDS[(n + 7 * k) % 60]},class{n}"
        for n, word in enumerate(WORDS[:30])
        for k in range(4)
    ]
    rows.write_text("text,label\n" + "\n".join(lines) + "\n")
    run, _ = setfit_run(tmp_path, data={"train": str(rows), "validation": None}, training={"steps": 120, **PACE})
    assert run.metrics["train"]["accuracy"]["value"] > 0.8


def test_the_names_of_labels_are_texts_too(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"text": ["w1 w2", "w3"], "label": ["good_news", "bad"]})
    task = TextClassification().resolve(Facts(train=rows))
    taught = Setfit(label_names="It is {}.").taught(rows, task)
    assert taught["text"][:] == ["w1 w2", "w3", "It is bad.", "It is good news."]
    assert taught["label"][:] == ["good_news", "bad", "bad", "good_news"]
    assert Setfit().taught(rows, task) is rows
    numbers = Dataset.from_dict({"text": ["w1 w2", "w3"], "label": [0, 1]})
    with pytest.raises(MethodError, match="label_names"):
        Setfit(label_names="It is {}.").taught(numbers, TextClassification().resolve(Facts(train=numbers)))
    _, records = setfit_run(tmp_path, method={"kind": "setfit", "label_names": "w60 {}"})
    assert next(r for r in records if r["event"] == "tokens")["rows"]["train"] == 24 + 3
    assert records[-2]["passed"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"task": "causal-lm", "data": {"train": "{rows}", "columns": {"text": "text"}}}, "text-classification"),
        ({"task": {"kind": "text-classification", "problem": "regression"}, "data": {"train": "{numbers}"}}, "numbers"),
        ({"method": {"kind": "setfit", "strategy": "unique"}}, "method.strategy"),
        ({"method": {"kind": "setfit", "sampling": "pairs", "hard": 0.5}}, "method.hard"),
        ({"method": {"kind": "setfit", "temperature": 0.1}}, "method.temperature"),
        ({"method": {"kind": "setfit", "sampling": "pairs", "enough": 0.1}}, "method.enough"),
        ({"training": {"batch_size": 2}}, "training.batch_size"),
        ({"training": {"batch_tokens": 512}}, "training.batch_tokens"),
        ({"training": {"score_before": True}}, "answers only after"),
        ({"task": {"kind": "text-classification", "label_smoothing": 0.1}}, "task.label_smoothing"),
    ],
)
def test_what_it_is_not_for_is_refused(settings: dict[str, Any], told: str, tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("text,label\n" + "".join(f"w{n} w1,{n / 7}\n" for n in range(20)))
    if "data" in settings:
        places = {"{rows}": str(few_rows(tmp_path / "some.csv", 8)), "{numbers}": str(numbers)}
        settings = {**settings, "data": {**settings["data"], "train": places[settings["data"]["train"]]}}
    with pytest.raises(LuthierError, match=told):
        setfit_run(tmp_path, **settings)


def test_an_encoder_decoder_is_refused() -> None:
    with pytest.raises(MethodError, match="encoder or a decoder"):
        Setfit(pooling="mean", normalize=False).apply(
            model_for(classification(), "t5"), generator=torch.Generator().manual_seed(0)
        )


def vectors(num_rows: int, num_labels: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    targets = random.integers(num_labels, size=num_rows)
    return (random.normal(size=(num_rows, 12)) + 1.5 * np.eye(12)[targets]).astype(np.float32), targets


@pytest.mark.parametrize("num_labels", [2, 4])
def test_the_classifier_is_scikit_learns_and_torch_finds_the_same(num_labels: int) -> None:
    rows, targets = vectors(80, num_labels)
    expected = LogisticRegression(max_iter=1000).fit(rows, targets).predict_proba(rows)
    for fit in (logistic, by_torch):
        found = fit(rows, targets, num_labels, PLAIN)
        scores = (torch.from_numpy(rows) @ found.weight.T + found.bias).softmax(-1).numpy()
        if fit is by_torch and num_labels == 2:  # both rows of W are penalised, in place of their difference
            found = fit(rows, targets, 2, Penalty(0.5, "none", 0.0))
            scores = (torch.from_numpy(rows) @ found.weight.T + found.bias).softmax(-1).numpy()
        np.testing.assert_allclose(scores, expected, atol=2e-3)


def test_labels_that_no_row_or_every_row_has_are_known_from_that() -> None:
    rows, targets = vectors(40, 3)
    found = logistic(rows, np.where(targets == 1, 0, targets), 4, PLAIN)
    scores = (torch.from_numpy(rows) @ found.weight.T + found.bias).softmax(-1)
    assert scores[:, [1, 3]].max() < 1e-6
    several = np.stack([np.ones(40), np.zeros(40), targets == 0], 1)
    found = logistic(rows, several, 3, PLAIN)
    scores = (torch.from_numpy(rows) @ found.weight.T + found.bias).sigmoid()
    assert scores[:, 0].min() > 0.97 > 0.03 > scores[:, 1].max()


def test_class_weights_and_smoothing_count() -> None:
    rows, targets = vectors(80, 3)
    plain = by_torch(rows, targets, 3, PLAIN)
    for fit in (logistic, by_torch):
        weighted = fit(rows, targets, 3, Penalty(1.0, (9.0, 1.0, 1.0), 0.0))
        share = lambda made: ((torch.from_numpy(rows) @ made.weight.T + made.bias).argmax(-1) == 0).float().mean()  # noqa: E731
        assert share(weighted) > share(plain)
    smooth = by_torch(rows, targets, 3, Penalty(1.0, "none", 0.3))
    assert smooth.weight.norm() < plain.weight.norm()


def test_the_temperature_makes_the_targets_likeliest() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2000, 4, generator=generator)
    targets = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    for factor in (0.3, 1.0, 6.0):
        assert temperature(factor * logits, targets) == pytest.approx(factor, rel=0.15)
    found = temperature(6.0 * logits, targets)
    assert F.cross_entropy(6.0 * logits / found, targets) < F.cross_entropy(6.0 * logits, targets)


def test_the_advised_steps_grow_with_the_rows() -> None:
    steps = [Setfit().num_steps(Facts(num_rows=num)) for num in (4, 16, 40, 320, 100_000)]
    assert steps == sorted(steps)  # type: ignore[type-var]
    assert steps[-1] == 1000
    assert Setfit(sampling="pairs").num_steps(Facts(num_rows=40)) is None
