"""Exact match and answer F1 against the official SQuAD scripts' rules, worked by hand."""

from typing import Any

import numpy as np
import pytest

from luthier.evaluation.metrics._answers import normalised
from luthier.evaluation.metrics.answer_f1 import AnswerF1
from luthier.evaluation.metrics.exact_match import ExactMatch
from luthier.tasks import Prediction

CASES: list[tuple[str, Any, float, float]] = [  # answer, reference, exact match, F1
    ("Denver Broncos", ["Denver Broncos"], 1, 1),
    ("the Denver Broncos.", ["denver broncos", "Broncos"], 1, 1),
    ("Broncos", ["Denver Broncos", "The Broncos"], 1, 1),
    ("Denver", ["Denver Broncos"], 0, 2 / 3),
    ("the big big dog", ["big dog dog"], 0, 2 / 3),  # two words shared, of three and three
    ("cat", ["dog"], 0, 0),
    ("", [], 1, 1),
    ("cat", [], 0, 0),
    ("", ["cat"], 0, 0),
    ("the", [], 1, 1),  # nothing is left of it
    ("", ["a", "cat"], 0, 0),  # an answer of an article alone is no answer
    ("", ["a"], 1, 1),
    ("Theatre", ["atre"], 0, 0),
    ("U.S.A.", ["USA"], 1, 1),
    ("well-known", ["well known"], 0, 0),
    ("Ärzte", "ärzte", 1, 1),
    ("one text", "one  text", 1, 1),
]


@pytest.mark.parametrize(("answer", "reference", "exact", "f1"), CASES)
def test_an_answer_scores_as_in_squad(answer: str, reference: Any, exact: float, f1: float) -> None:
    given = [Prediction(answer)]
    assert ExactMatch().rows(given, [reference]).tolist() == [exact]
    assert AnswerF1().rows(given, [reference]).tolist() == pytest.approx([f1])


def test_scores_are_means_over_rows() -> None:
    answers, references = zip(*((answer, reference) for answer, reference, *_ in CASES), strict=True)
    given = [Prediction(answer) for answer in answers]
    for metric, place in ((ExactMatch(), 2), (AnswerF1(), 3)):
        expected = np.mean([case[place] for case in CASES])
        assert metric.value(metric.rows(given, references)) == pytest.approx(expected)


def test_without_normalising_every_character_counts() -> None:
    metric = ExactMatch(normalise=False)
    given = [Prediction("The cat"), Prediction("The cat"), Prediction("The cat"), Prediction("")]
    assert metric.rows(given, ["The cat", "the cat", ["a dog", "The cat"], []]).tolist() == [1, 0, 1, 1]


def test_normalising_twice_changes_nothing() -> None:
    for text in ("  The  quick-brown fox, an owl & a  dog!", "a.the", "THE"):
        assert normalised(normalised(text)) == normalised(text)
