"""Findings say what the figures of a run mean, and keep quiet otherwise."""

from pathlib import Path

import pytest

from luthier.report.findings import findings
from tests.report.folder import NUM_STEPS, make_run, share_right

LABELS = ("ham", "spam")
GOOD = {split: share_right(380, 400) for split in ("train", "validation", "test")}
NUMBERS = [(float(row), row + 0.1) for row in range(100)]


def test_a_run_without_faults_is_not_talked_about(tmp_path: Path):
    run = make_run(tmp_path / "run", GOOD, labels=LABELS, validation_losses=(0.9, 0.7, 0.6, 0.55))
    assert findings(run) == []


def test_a_regression_without_faults_is_not_talked_about(tmp_path: Path):
    assert findings(make_run(tmp_path / "run", {"train": NUMBERS, "validation": NUMBERS})) == []


def test_a_gap_between_training_and_validation_is_overfitting(tmp_path: Path):
    outcomes = {"train": share_right(400, 400), "validation": share_right(320, 400)}
    (found,) = findings(make_run(tmp_path / "run", outcomes, labels=LABELS))
    assert found.startswith("Overfitting: f1-macro is 1.000 on training rows but 0.800 [0.7")
    assert "20.0 points lower" in found
    assert "fewer epochs" in found


def test_a_gap_within_the_interval_is_no_overfitting(tmp_path: Path):
    outcomes = {"train": share_right(40, 40), "validation": share_right(38, 40)}
    found = findings(make_run(tmp_path / "run", outcomes, labels=LABELS))
    assert not any(sentence.startswith("Overfitting") for sentence in found)


def test_a_rising_validation_loss_is_overfitting_since_its_best(tmp_path: Path):
    run = make_run(tmp_path / "run", GOOD, labels=LABELS, validation_losses=(0.8, 0.5, 0.55, 0.6))
    (found,) = findings(run)
    assert "since step 50 (epoch 1) validation loss rose by 20 %, from 0.500 to 0.600" in found


@pytest.mark.parametrize(
    ("losses", "validation_losses"),
    [
        pytest.param((1.0, 0.8, 0.6, 0.5), (0.8, 0.5, 0.5, 0.52), id="within-chance"),
        pytest.param((0.5, 0.6, 0.8, 1.0), (0.8, 0.5, 0.6, 0.7), id="training-loss-rose-too"),
        pytest.param((1.0, 0.8, 0.6, 0.5), (float("nan"), float("nan")), id="not-defined"),
    ],
)
def test_other_courses_of_the_losses_are_no_overfitting(tmp_path: Path, losses, validation_losses):
    run = make_run(tmp_path / "run", GOOD, labels=LABELS, losses=losses, validation_losses=validation_losses)
    assert findings(run) == []


def test_a_small_split_says_which_differences_mean_nothing(tmp_path: Path):
    outcomes = {"train": GOOD["train"], "test": share_right(36, 40)}
    (found,) = findings(make_run(tmp_path / "run", outcomes, labels=LABELS))
    assert found.startswith("The test split is small (40 rows): f1-macro is 0.900 [")
    assert found.endswith("points mean nothing.")


def test_splits_whose_intervals_lie_apart_are_told(tmp_path: Path):
    outcomes = {**GOOD, "test": share_right(300, 400)}
    (found,) = findings(make_run(tmp_path / "run", outcomes, labels=LABELS))
    assert found.startswith("f1-macro is clearly better on validation rows, 0.950")


def test_a_label_that_is_never_right_is_named_with_its_rows(tmp_path: Path):
    outcomes = [(0, 0)] * 350 + [(1, 0)] * 50
    run = make_run(tmp_path / "run", {"train": outcomes, "test": outcomes}, labels=("ham", "<b>rare</b>", "absent"))
    found = findings(run)
    assert "Never answered right on test rows (F1 of 0): <b>rare</b> (50 rows)." in found[0]
    assert "class_weights=auto" in found[0]


def test_unbalanced_labels_are_noted_with_their_rows(tmp_path: Path):
    rows = [(0, 0)] * 390 + [(1, 1)] * 10
    run = make_run(tmp_path / "run", {"train": rows, "validation": rows}, labels=LABELS, class_weights=[0.5, 20.0])
    (found,) = findings(run)
    assert found == "The labels are unbalanced: of 400 training rows, 390 are ham and 10 are spam."


def test_notes_of_the_data_are_told_without_what_they_quote(tmp_path: Path):
    notes = (
        "train: read body as text",
        "train: 1 rows skipped:\n  a.csv:7: text is 'Dear Ann', which is no text",
        "train: 2 of 9 rows repeat another one and were dropped",
        "test: 1 of 4 rows have a text that training has too (a leak)",
    )
    assert findings(make_run(tmp_path / "run", GOOD, labels=LABELS, notes=notes)) == [
        "Train: 1 rows skipped.",
        "Train: 2 of 9 rows repeat another one and were dropped.",
        "Test: 1 of 4 rows have a text that training has too (a leak).",
    ]


@pytest.mark.parametrize(
    ("trained", "start"),
    [
        pytest.param({"padding": 0.2}, "20 % of all tokens computed were padding", id="padding"),
        pytest.param({"best_step": 40}, "The best state, which was kept, is that of step 40 of 100", id="best-early"),
        pytest.param({"steps": 60, "best_step": 20}, "Stopped early after 60 of 100 steps", id="stopped-early"),
    ],
)
def test_a_training_that_wasted_time_says_so(tmp_path: Path, trained, start: str):
    (found,) = findings(make_run(tmp_path / "run", GOOD, labels=LABELS, trained=trained))
    assert found.startswith(start)
    assert NUM_STEPS == 100


def test_without_rows_held_out_the_scores_are_not_trusted(tmp_path: Path):
    (found,) = findings(make_run(tmp_path / "run", {"train": NUMBERS}))
    assert found.startswith("There are no validation and no test rows")


def test_steps_that_were_left_out_are_told(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", GOOD, labels=LABELS)
    run.log(
        "step",
        step=NUM_STEPS,
        num_steps=NUM_STEPS,
        loss=None,
        learning_rate=1e-3,
        grad_norm=None,
        skipped=[48, 50],
        epoch=2.0,
    )
    (told,) = (sentence for sentence in findings(run) if sentence.startswith("Numbers: "))
    assert "2 steps were left out" in told
    assert "the first was step 48" in told
