"""Score against examples per class: the runs of a curve, their means and intervals, and what is said of more rows."""

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from luthier.curves.curve import curve
from luthier.curves.grid import Cell, grid, read_sizes, usual_sizes
from luthier.curves.outlook import Forecast, Outlook, outlook
from luthier.curves.page import page
from luthier.curves.points import Point, Result, Scale, points
from luthier.curves.power_law import PowerLaw, extrapolated, fit, weights_of
from luthier.curves.words import conclusions
from luthier.errors import RecipeError, RunError
from luthier.evaluation.score import Score
from luthier.evaluation.student import mean_with_interval
from luthier.groundwork import read_rows
from luthier.recipe import Recipe, check
from luthier.report.evidence import Evidence
from luthier.run import Record, Run
from tests.runs import tiny_model, write_rows

ACCURACY = Scale("accuracy", higher_is_better=True)
SIZES = (2, 4, 8, 16, 32)
JITTER = np.array([0.002, -0.002, 0.001, -0.001, 0.0])
"""Of five splits."""


def of_errors(errors: Any, sizes: tuple[int, ...] = SIZES) -> list[Point]:
    """The points of a table of errors: a row a size, a column a split."""
    return points(
        [
            Result(Cell(size, split), 1 - error, num_rows=3 * size, num_steps=10, duration_s=2.0)
            for size, row in zip(sizes, errors, strict=True)
            for split, error in enumerate(row, 1)
        ],
        ACCURACY,
    )


def law(floor: float, scale: float, exponent: float, spread: float = 1.0) -> np.ndarray:
    """Errors of a power law, a little off in each split."""
    sizes = np.array(SIZES, dtype=float)
    return (floor + scale * sizes**-exponent)[:, None] + spread * JITTER


def test_the_interval_is_students() -> None:
    score = mean_with_interval([0.7, 0.8, 0.9])
    assert (score.value, score.low) == pytest.approx((0.8, 0.8 - 4.302653 * 0.1 / math.sqrt(3)))
    assert score.high - score.value == pytest.approx(score.value - score.low)
    assert math.isnan(mean_with_interval([0.7]).low)


def test_no_interval_goes_beyond_a_perfect_score() -> None:
    (point,) = of_errors([[0.1, 0.0, 0.0]], (2,))
    assert point.score.high == 1.0
    assert point.score.low == pytest.approx(0.9667 - 0.1434, abs=1e-3)
    assert point.scores == {1: 0.9, 2: 1.0, 3: 1.0}


def test_of_a_loss_the_smaller_is_the_better() -> None:
    loss = Scale("loss", higher_is_better=False)
    assert loss.score_of(Score(0.5, 0.4, 0.6)) == Score(0.5, 0.4, 0.6)
    assert ACCURACY.score_of(Score(0.25, 0.125, 0.5)) == Score(0.75, 0.5, 0.875)


@pytest.mark.parametrize("made", [PowerLaw(0.05, 0.6, 0.7), PowerLaw(0.0, 0.5, 0.3), PowerLaw(0.1, 0.4, 1.5)])
def test_a_law_is_found_again(made: PowerLaw) -> None:
    sizes = np.array(SIZES, dtype=float)
    found = fit(sizes, np.array([made.at(size) for size in sizes]), np.ones(len(sizes)))
    assert (found.floor, found.scale, found.exponent) == pytest.approx(
        (made.floor, made.scale, made.exponent), abs=2e-3
    )


def test_a_fit_has_no_negative_error_and_keeps_to_its_bounds() -> None:
    sizes = np.array(SIZES, dtype=float)
    for errors in ([0.5, 0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4, 0.5], [0.0] * 5, [0.5, 0.0, 0.0, 0.0, 0.0]):
        found = fit(sizes, np.array(errors), np.ones(len(sizes)))
        assert 0.05 <= found.exponent <= 2
        assert found.at(64) >= 0
        assert found.at(64) <= found.at(32) + 1e-12


def test_a_size_whose_splits_differ_counts_less() -> None:
    errors = law(0.05, 0.6, 0.7)
    assert np.allclose(weights_of(errors), weights_of(errors)[0])
    errors[0] += 100 * JITTER
    assert weights_of(errors)[0] == min(weights_of(errors)) < 0.8 * weights_of(errors)[1]


def test_the_interval_of_what_is_not_there_yet_comes_from_the_splits() -> None:
    sizes, targets = np.array(SIZES, dtype=float), (64, 128)
    made = PowerLaw(0.05, 0.6, 0.5)
    alike = extrapolated(sizes, law(0.05, 0.6, 0.5, spread=0), targets)
    assert [(each.value, each.low, each.high) for each in alike] == [
        pytest.approx([made.at(target)] * 3, abs=1e-3) for target in targets
    ]
    near, far = (extrapolated(sizes, law(0.05, 0.6, 0.5, spread), targets)[0] for spread in (1, 5))
    for each in (near, far):
        assert each.low < each.value < each.high
    assert far.high - far.low > 3 * (near.high - near.low)
    half = 2.776 * JITTER.std(ddof=1) / math.sqrt(5)  # of the mean of a size: an extrapolation knows no more
    assert near.high - near.low > 2 * half * 0.8


@pytest.mark.parametrize(
    ("kind", "errors"),
    [
        ("rises", law(0.02, 0.6, 0.5)),
        ("level", law(0.1, 0.4, 1.5)),
        ("vague", law(0.1, 0.1, 0.5, spread=50)),
        ("falls", law(0.02, 0.6, 0.5)[::-1]),
        ("flat", 0.2 + np.array([JITTER, JITTER, JITTER, JITTER, JITTER[[3, 2, 0, 1, 4]]])),
        ("noisy", 0.2 + 50 * np.array([JITTER, JITTER, JITTER, JITTER, JITTER[[3, 2, 0, 1, 4]]])),
        ("flat", np.zeros((5, 5))),
    ],
)
def test_what_a_curve_is_like_is_told_by_its_splits(kind: str, errors: np.ndarray) -> None:
    found = outlook(of_errors(errors), ACCURACY)
    assert found.kind == kind
    assert [each.size for each in found.forecasts] == ([64, 128] if kind in ("rises", "level", "vague") else [])


def test_too_few_sizes_or_splits_say_nothing_of_more() -> None:
    errors = law(0.02, 0.6, 0.5)
    assert outlook(of_errors(errors[:2], SIZES[:2]), ACCURACY).kind == "few sizes"
    assert outlook(of_errors(errors[:1], SIZES[:1]), ACCURACY).kind == "few sizes"
    assert outlook(of_errors(errors[:, :2]), ACCURACY).kind == "few splits"
    assert outlook(of_errors(errors[:, :1]), ACCURACY).kind == "few splits"


def test_a_split_that_lacks_a_size_is_not_compared_by_it() -> None:
    made = of_errors(law(0.02, 0.6, 0.5))
    short = Point(32, made[-1].score, {s: v for s, v in made[-1].scores.items() if s > 3}, 96, 10, 2.0)
    assert outlook([*made[:-1], short], ACCURACY).kind == "few splits"


def test_what_follows_is_said_in_words() -> None:
    made = of_errors(law(0.02, 0.6, 0.5))
    forecasts = (Forecast(64, Score(0.905, 0.9, 0.93)), Forecast(128, Score(0.92, 0.91, 0.95)))
    rises = Outlook("rises", Score(0.3, 0.2, 0.4), PowerLaw(0.02, 0.6, 0.5), forecasts)
    assert conclusions(made, rises, ACCURACY, 445) == [
        "accuracy is 0.556 [0.554, 0.558] with 2 examples per class and 0.874 [0.872, 0.876] with 32, the mean of "
        "5 splits, on the same 445 test rows.",
        "Twice as many examples per class (64): about 0.905, between 0.900 and 0.930.",
        "Four times as many examples per class (128): about 0.920, between 0.910 and 0.950.",
        "That holds as far as the curve goes on as it did, and new rows are like those that are there.",
    ]
    longer = replace(made[-1], num_steps=160.0)
    assert "with 2 took 10 steps, those with 32 took 160" in conclusions([*made[:-1], longer], rises, ACCURACY, 445)[-1]
    for kind, told in {
        "few sizes": "5 sizes draw no curve",
        "few splits": "What more would buy is not known",
        "falls": "The score falls from 2 to 32",
        "flat": "The curve is flat: 32 examples per class are no better than 2 (gain 0.300 [0.200, 0.400])",
        "noisy": "Too noisy to tell",
        "vague": "too noisily to say what more would buy: twice as many examples per class (64): about 0.905",
        "level": "It has levelled off: twice as many",
    }.items():
        spoken = Outlook(kind, Score(0.3, 0.2, 0.4), None, forecasts)  # type: ignore[arg-type]
        assert told in conclusions(made, spoken, ACCURACY, 445)[1]
    assert conclusions([], Outlook("few sizes", None), ACCURACY, 0) == []


def test_the_page_draws_every_run_within_its_picture() -> None:
    made = of_errors(law(0.02, 0.6, 0.5))
    found = outlook(made, ACCURACY)
    written = page("spam", made, found, ACCURACY, {"2-per-class-split-1": "<b>"}, ["What <i>follows</i>."])
    assert "What &lt;i&gt;follows" in written
    svg = ElementTree.fromstring(written[written.index("<svg") : written.index("</svg>") + len("</svg>")])
    width, height = map(float, svg.get("viewBox", "").split()[2:])
    circles = [element for element in svg.iter() if element.tag.endswith("circle")]
    assert len(circles) == 5 * 5 + 5 + 2
    assert all(0 < float(c.get("cx", 0)) < width and 0 < float(c.get("cy", 0)) < height for c in circles)
    (single,) = of_errors([[0.5]], (1,))
    assert "<svg" in page("one", [single], outlook([single], ACCURACY), ACCURACY, {}, [])


def test_usual_sizes_go_up_to_the_rarest_label_that_is_a_usual_one() -> None:
    assert usual_sizes([40, 50, 3]) == (2, 4, 8, 16, 32)
    assert usual_sizes([380, 400]) == (2, 4, 8, 16, 32, 64)
    assert usual_sizes([5, 6]) == (2, 4)
    assert usual_sizes([1, 1]) == ()


def test_sizes_are_read_or_refused() -> None:
    assert read_sizes("2, 8,4") == (2, 8, 4)
    for text in ("", "2,x", "0,2", "2,,4", "-1", "2.5"):
        with pytest.raises(RecipeError, match="no list of whole numbers"):
            read_sizes(text)


def recipe(folder: Path, **data: Any) -> Recipe:
    said = {"epochs": 8, "batch_size": 8, "learning_rate": 5e-3, "precision": "fp32", "seed": 3}
    raw = {
        "model": str(folder / "base"),
        "data": {"train": str(write_rows(folder / "rows.csv")), **data},
        "task": "text-classification",
        "method": {"kind": "partial", "train": ["head"]},
        "training": said,
        "output": str(folder / "curve"),
    }
    return check(raw)


@pytest.mark.parametrize("test", [None, 0.3])
def test_every_run_is_judged_by_the_same_rows_and_learns_from_its_own(tmp_path: Path, test: float | None) -> None:
    plan = grid(recipe(tmp_path, test=test), None, 2)
    assert plan.sizes == (2, 4, 8, 16)
    cells = list(plan.cells())
    assert [(cell.size, cell.split) for cell in cells[:5]] == [(2, 1), (4, 1), (8, 1), (16, 1), (2, 2)]
    read = {cell: read_rows(plan.recipe_of(cell)).splits for cell in cells}
    for split in ("test", "validation"):
        assert len({tuple(splits.named()[split]["text"]) for splits in read.values()}) == 1
    for cell, splits in read.items():
        assert all(list(splits.train["label"]).count(label) == cell.size for label in set(splits.train["label"]))
    assert set(read[cells[0]].train["text"]) < set(read[cells[1]].train["text"])
    assert list(read[cells[0]].train["text"]) != list(read[cells[4]].train["text"])
    assert any("the same for every run" in note for note in plan.notes) == (test is None)


def test_what_has_no_classes_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="luthier curve sets it for each"):
        grid(recipe(tmp_path, n_per_class=2), None, 2)
    made = recipe(tmp_path)
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"w{n},{n / 7}\n" for n in range(1, 40)))
    with pytest.raises(RecipeError, match="the rows of a regression have none"):
        grid(made, None, 2)
    with pytest.raises(RecipeError, match="the rows of masked-lm have none"):
        grid(made.changed({"task": "masked-lm"}, where="test"), None, 2)


@pytest.mark.slow
@pytest.mark.usefixtures("runs_by_a_fork")
def test_a_curve_is_drawn_and_goes_on_where_it_was_left(tmp_path: Path) -> None:
    tiny_model(tmp_path / "base")
    made, folder = recipe(tmp_path), tmp_path / "curve"
    records = list(curve(made, sizes=(8, 2), num_splits=2))
    assert [r["name"] for r in records if r["event"] == "run"] == [
        "2-per-class-split-1", "8-per-class-split-1", "2-per-class-split-2", "8-per-class-split-2",
    ]  # fmt: skip
    kept = json.loads((folder / "curve.json").read_text())
    assert [point["size"] for point in kept["points"]] == [2, 8]
    assert [point["num_rows"] for point in kept["points"]] == [6, 24]
    assert (kept["metric"], kept["num_rows"], kept["refused"]) == ("f1-macro", 18, {})
    for point in kept["points"]:
        for split, score in point["scores"].items():
            run = Run.open(folder / f"{point['size']}-per-class-split-{split}")
            assert score == run.metrics["test"]["f1-macro"]["value"]
            assert Evidence.of(run).rows == {"train": point["size"] * 3, "test": 18, "validation": 7}
            assert not run.model_folder.exists()
            assert not run.adapter_folder.exists()
    assert "2 sizes draw no curve" in (folder / "curve.html").read_text()

    with pytest.raises(RunError, match="say --resume to go on"):
        list(curve(made, sizes=(2, 8), num_splits=2))
    with pytest.raises(RunError, match="is of another recipe"):
        list(curve(made.changed({"training.epochs": 4.0}, where="test"), sizes=(2, 8), num_splits=2, resume=True))
    logs = {path: path.read_bytes() for path in folder.glob("*/log.jsonl")}
    shutil.rmtree(folder / "2-per-class-split-2")
    again = list(curve(made, sizes=(2, 8), num_splits=2, resume=True))
    assert again[-1]["found"][0].scores == records[-1]["found"][0].scores
    left = {path for path, before in logs.items() if path.read_bytes() == before}
    assert {path.parent.name for path in logs.keys() - left} == {"2-per-class-split-2"}


def follow_events(records: Iterator[Record], told: list[str]) -> None:
    for record in records:
        told.append(record["event"])


@pytest.mark.slow
@pytest.mark.usefixtures("runs_by_a_fork")
def test_where_a_whole_split_is_refused_the_others_are_not_tried(tmp_path: Path) -> None:
    tiny_model(tmp_path / "base")
    made = recipe(tmp_path).changed({"method": {"kind": "partial", "train": ["nothing"]}}, where="test")
    told: list[str] = []
    with pytest.raises(RecipeError, match=r"no run came to its end; 2-per-class-split-1: method\.train: no layer"):
        follow_events(curve(made, sizes=(2,), num_splits=4), told)
    assert told == ["plan", "run", "refused"]
