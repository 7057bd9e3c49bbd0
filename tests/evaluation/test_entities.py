"""Entity metrics against seqeval's strict mode, on random tags, illegal ones among those that are given."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from luthier.evaluation.score import metrics_of, value
from luthier.tasks import Prediction
from luthier.tasks._tags import as_iob2, entities

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")
SENTENCE = st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1, max_size=10)
KINDS = {"entity-f1": "f1-score", "entity-precision": "precision", "entity-recall": "recall"}


@given(st.lists(SENTENCE, min_size=1, max_size=6))
def test_every_figure_is_seqevals(rows: list[list[tuple[str, str]]]) -> None:
    given = [[tag for tag, _ in row] for row in rows]
    true = [as_iob2(entities([tag for _, tag in row]), len(row)) for row in rows]
    predictions = [Prediction(tuple(tags)) for tags in given]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not {tag for tags in (*given, *true) for tag in tags if tag.startswith("B-")}:
            return  # seqeval cannot report on no entity at all
        report = classification_report(true, given, output_dict=True, mode="strict", scheme=IOB2, zero_division=0)
    for kind, name in KINDS.items():
        (metric,) = metrics_of([kind])
        assert value(metric, predictions, true) == pytest.approx(report["micro avg"][name], abs=1e-12)
        for entity in ("PER", "LOC", "ORG"):
            (metric,) = metrics_of([{"kind": kind, "type": entity}])
            found = value(metric, predictions, true)
            assert metric.name == f"{kind} of {entity}"
            assert found == pytest.approx(report[entity][name], abs=1e-12) if entity in report else np.isnan(found)


def test_statistics_are_counts_of_each_row() -> None:
    predictions = [Prediction(("B-PER", "I-PER", "B-LOC")), Prediction(("O", "I-PER"))]
    true = [["B-PER", "I-PER", "O"], ["O", "B-PER"]]
    (metric, accuracy) = metrics_of(["entity-f1", "tag-accuracy"])
    assert metric.rows(predictions, true).tolist() == [[1, 2, 1], [0, 0, 1]]
    assert accuracy.rows(predictions, true).tolist() == [[2, 3], [1, 2]]
    assert value(accuracy, predictions, true) == 3 / 5


def test_without_entities_there_is_no_figure() -> None:
    (metric,) = metrics_of(["entity-f1"])
    assert np.isnan(value(metric, [Prediction(("O", "I-PER"))], [["O", "O"]]))
