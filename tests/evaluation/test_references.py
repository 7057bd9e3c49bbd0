"""Every metric against scikit-learn's or scipy's, on random answers with ties and with labels that are missing."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy import ndarray
from scipy import stats
from sklearn import metrics as sk

from luthier.evaluation.score import metrics_of, value
from luthier.tasks import Prediction

AVERAGES = ("macro", "micro", "weighted")
SKLEARN = {"f1": sk.f1_score, "precision": sk.precision_score, "recall": sk.recall_score}


class Single:
    """Answers to a single-label problem: coarse scores, so that there are ties."""

    def __init__(self, num_labels: int, *, seed: int, missing: Sequence[int] = ()) -> None:
        random = np.random.default_rng(seed)
        there = [label for label in range(num_labels) if label not in missing]
        self.true = np.append(there, random.choice(there, size=80))
        drawn = random.integers(1, 5, size=(len(self.true), num_labels)) + 2 * np.eye(num_labels)[self.true]
        self.scores = drawn / drawn.sum(-1, keepdims=True)
        self.chosen = self.scores.argmax(-1)
        self.predictions = _predictions(self.chosen.tolist(), self.scores)
        self.references = self.true.tolist()


class Several:
    """Answers to a multi-label problem."""

    def __init__(self, num_labels: int, *, seed: int, missing: Sequence[int] = ()) -> None:
        random = np.random.default_rng(seed)
        self.true = (random.random((80, num_labels)) < 0.4).astype(int)
        self.true[:, list(missing)] = 0
        self.scores = (random.integers(0, 6, size=(80, num_labels)) + 2 * self.true) / 8
        self.chosen = (self.scores >= 0.5).astype(int)
        self.chosen[:, list(missing)] = 0
        self.predictions = _predictions([tuple(np.flatnonzero(row).tolist()) for row in self.chosen], self.scores)
        self.references = self.true.astype(float)


def _predictions(values: list[Any], scores: ndarray) -> list[Prediction]:
    return [Prediction(v, tuple(s)) for v, s in zip(values, scores.tolist(), strict=True)]


def ours(metric: str | dict[str, Any], answers: Any) -> float:
    (found,) = metrics_of([metric])
    return value(found, answers.predictions, answers.references)


SINGLE = [
    pytest.param({"num_labels": 2}, id="binary"),
    pytest.param({"num_labels": 5}, id="five"),
    pytest.param({"num_labels": 5, "missing": [1, 4]}, id="missing"),
]
seeds = pytest.mark.parametrize("seed", range(3))


@seeds
@pytest.mark.parametrize("shape", SINGLE)
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("kind", SKLEARN)
def test_one_label(kind: str, average: str, shape: dict[str, Any], seed: int) -> None:
    answers = Single(seed=seed, **shape)
    expected = SKLEARN[kind](answers.true, answers.chosen, average=average, zero_division=0)
    assert ours({"kind": kind, "average": average}, answers) == pytest.approx(expected, abs=1e-12)


@seeds
@pytest.mark.parametrize("missing", [[], [2]])
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("kind", SKLEARN)
def test_several_labels(kind: str, average: str, missing: list[int], seed: int) -> None:
    """Macro: over the labels that are there or were given; scikit-learn counts the others as 0 unless told."""
    answers = Several(4, seed=seed, missing=missing)
    there = [label for label in range(4) if label not in missing]
    expected = SKLEARN[kind](answers.true, answers.chosen, labels=there, average=average, zero_division=0)
    assert ours({"kind": kind, "average": average}, answers) == pytest.approx(expected, abs=1e-12)


@seeds
@pytest.mark.parametrize("kind", SKLEARN)
def test_each_label_by_itself(kind: str, seed: int) -> None:
    for answers in (Single(5, seed=seed), Several(5, seed=seed)):
        expected = SKLEARN[kind](answers.true, answers.chosen, average=None, zero_division=0)
        found = [ours({"kind": kind, "label": "x", "index": index}, answers) for index in range(5)]
        assert found == pytest.approx(expected.tolist(), abs=1e-12)


@seeds
@pytest.mark.parametrize("shape", SINGLE)
def test_accuracy_and_matthews(shape: dict[str, Any], seed: int) -> None:
    answers = Single(seed=seed, **shape)
    assert ours("accuracy", answers) == pytest.approx(sk.accuracy_score(answers.true, answers.chosen), abs=1e-12)
    assert ours("matthews", answers) == pytest.approx(sk.matthews_corrcoef(answers.true, answers.chosen), abs=1e-12)


@seeds
def test_accuracy_of_several_labels_wants_all_of_them(seed: int) -> None:
    answers = Several(3, seed=seed)
    assert ours("accuracy", answers) == pytest.approx(sk.accuracy_score(answers.true, answers.chosen), abs=1e-12)


@seeds
def test_ranking_of_two_exclusive_labels_is_that_of_the_second(seed: int) -> None:
    answers = Single(2, seed=seed)
    area = sk.roc_auc_score(answers.true, answers.scores[:, 1])
    precision = sk.average_precision_score(answers.true, answers.scores[:, 1])
    assert ours("auroc", answers) == pytest.approx(area, abs=1e-12)
    assert ours("average-precision", answers) == pytest.approx(precision, abs=1e-12)


@seeds
def test_ranking_of_five_labels_is_one_against_the_rest(seed: int) -> None:
    answers = Single(5, seed=seed)
    area = sk.roc_auc_score(answers.true, answers.scores, multi_class="ovr", average="macro")
    precision = sk.average_precision_score(answers.true, answers.scores, average="macro")
    assert ours("auroc", answers) == pytest.approx(area, abs=1e-12)
    assert ours("average-precision", answers) == pytest.approx(precision, abs=1e-12)


@seeds
@pytest.mark.parametrize("answers_of", [Single, Several])
def test_ranking_leaves_out_labels_that_are_missing(answers_of: Any, seed: int) -> None:
    answers = answers_of(5, seed=seed, missing=[1, 4])
    has = answers.true if answers.true.ndim == 2 else np.eye(5)[answers.true]
    there = [0, 2, 3]
    area = sk.roc_auc_score(has[:, there], answers.scores[:, there], average="macro")
    precision = sk.average_precision_score(has[:, there], answers.scores[:, there], average="macro")
    assert ours("auroc", answers) == pytest.approx(area, abs=1e-12)
    assert ours("average-precision", answers) == pytest.approx(precision, abs=1e-12)


class Numbers:
    """Answers to a regression; whole numbers have ties."""

    def __init__(self, *, seed: int, ties: bool) -> None:
        random = np.random.default_rng(seed)
        self.true = random.normal(size=80) * 3
        self.chosen = self.true + random.normal(size=80) * 2
        if ties:
            self.true, self.chosen = self.true.round(), self.chosen.round()
        self.predictions = [Prediction(number) for number in self.chosen.tolist()]
        self.references = self.true.tolist()


@seeds
@pytest.mark.parametrize("ties", [True, False])
def test_numbers(seed: int, ties: bool) -> None:
    answers = Numbers(seed=seed, ties=ties)
    expected = stats.spearmanr(answers.true, answers.chosen).statistic
    assert ours("spearman", answers) == pytest.approx(expected, abs=1e-12)
    assert ours("mse", answers) == pytest.approx(sk.mean_squared_error(answers.true, answers.chosen), abs=1e-12)


def test_what_is_not_defined_is_no_number() -> None:
    one_label = Single(3, seed=0, missing=[1, 2])
    for kind in ("auroc",):
        assert np.isnan(ours(kind, one_label))
    constant = Numbers(seed=0, ties=True)
    constant.predictions = [Prediction(1.0)] * 80
    assert np.isnan(ours("spearman", constant))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isnan(stats.spearmanr(constant.true, [1.0] * 80).statistic)


def test_matthews_of_a_constant_answer_is_zero() -> None:
    answers = Single(3, seed=0)
    answers.predictions = _predictions([0] * len(answers.true), answers.scores)
    assert ours("matthews", answers) == sk.matthews_corrcoef(answers.true, [0] * len(answers.true)) == 0.0
