"""Final runs of winner and default on tiny models, and what their difference says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import luthier
from luthier.errors import RunError
from luthier.evaluation.score import Score, metrics_of
from luthier.evaluation.student import mean_with_interval
from luthier.recipe import Recipe, check, read
from luthier.run import Record, Run
from luthier.studying import winner
from luthier.studying.verdict import Difference, Side, Verdict, difference
from luthier.studying.winner import recipe_of, train_finals
from luthier.trials.space import Space
from tests.runs import tiny_model, write_rows

SPACE = Space.of({"training.learning_rate": {"log": [1e-6, 1e-1]}})
WINNER = {"training.learning_rate": 5e-3}
(ACCURACY,) = metrics_of(("accuracy",))


def pair(ours: list[float], theirs: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(ours), np.array(theirs)


def test_of_one_seed_the_interval_is_that_of_the_rows() -> None:
    ours, theirs = [1.0] * 40 + [0.0] * 20 + [1.0] * 340, [0.0] * 40 + [1.0] * 20 + [1.0] * 340
    found = difference(ACCURACY, [pair(ours, theirs)])
    # 40 rows won, 20 lost, of 400: variance 60 / 400 - 0.05^2, Student's 97.5 % point at 399 is 1.966
    half = 1.966 * np.sqrt((60 / 400 - 0.05**2) / 400)
    assert found.score.value == pytest.approx(0.05)
    assert found.score.high - 0.05 == pytest.approx(half, rel=0.1)
    assert found.score.low + found.score.high == pytest.approx(0.1)
    assert 0.001 < found.p_value < 0.03  # z = 2.6
    assert found.num_seeds == 1


def test_where_rows_do_not_differ_the_interval_is_students_over_seeds() -> None:
    found = difference(ACCURACY, [pair([0.9 + each] * 50, [0.9] * 50) for each in (0.04, 0.05, 0.09)])
    expected = mean_with_interval([0.04, 0.05, 0.09])
    for end in ("value", "low", "high"):
        assert getattr(found.score, end) == pytest.approx(getattr(expected, end), rel=1e-6)
    assert found.p_value == pytest.approx(0.0583, abs=2e-3)  # t = 0.06 / 0.01528 at 2 degrees of freedom


def test_the_variance_is_the_sum_of_that_of_rows_and_that_of_seeds() -> None:
    half = [1.0] * 50 + [0.0] * 50  # the difference is that of the first rows: 0.5, 0.45, 0.4
    pairs = [pair(half, [0.1 * number] * 50 + [0.0] * 50) for number in range(3)]
    of_rows = np.mean([0.5, 0.45, 0.4]) ** 2 / 100  # a row has twice the mean or nothing
    of_seeds = 0.05**2 / 3
    freedom = (of_rows + of_seeds) ** 2 / (of_rows**2 / 99 + of_seeds**2 / 2)
    found = difference(ACCURACY, pairs).score
    expected = stats.t.ppf(0.975, freedom) * np.sqrt(of_rows + of_seeds)
    assert found.high - found.value == pytest.approx(expected, rel=0.1)


def test_runs_that_answer_alike_differ_by_nothing() -> None:
    assert difference(ACCURACY, [pair([1.0, 0.0], [1.0, 0.0])] * 3) == Difference(Score(0.0, 0.0, 0.0), 1.0, 3)


@pytest.mark.parametrize(
    ("ends", "higher_is_better", "outcome"),
    [
        ((0.01, 0.03), True, "won"),
        ((0.01, 0.03), False, "lost"),
        ((-0.03, -0.01), False, "won"),
        ((-0.01, 0.03), True, "nothing"),
        ((float("nan"), float("nan")), True, "unknown"),
    ],
)
def test_what_was_won_is_turned_by_the_metric(ends: tuple[float, float], higher_is_better: bool, outcome: str) -> None:
    side = Side(Score(0.5, 0.4, 0.6), {0: 0.5}, 1.0)
    gap = Difference(Score(0.0, *ends), 0.5, 3)
    assert Verdict("loss", higher_is_better, "test", 10, side, side, gap, {}).outcome == outcome


def recipe(folder: Path, **data: Any) -> Recipe:
    said = {"epochs": 8, "batch_size": 8, "learning_rate": 1e-6, "precision": "fp32", "device": "cpu", "seed": 3}
    raw = {
        "model": str(tiny_model(folder / "base")),
        "data": {"train": str(write_rows(folder / "rows.csv")), "validation": 0.2, **data},
        "task": "text-classification",
        "training": said,
        "output": str(folder / "found"),
        "search": {"replicates": 2},
    }
    return check(raw)


def in_this_process(path: Path, *, command: str, overwrite: bool) -> None:
    """What stands in for a process of its own."""
    luthier.train(read(path), overwrite=overwrite, resume=True)


def finals(made: Recipe, folder: Path, default: bool = True) -> Iterator[Record]:
    folder.mkdir(exist_ok=True)
    other = recipe_of(made, SPACE, {}) if default else None
    return train_finals(recipe_of(made, SPACE, WINNER), other, folder, replicates=2, metric="accuracy")


def test_a_finals_recipe_searches_nothing_and_cuts_the_same_rows_under_every_seed(tmp_path: Path) -> None:
    made = recipe(tmp_path, test=0.2)
    found = recipe_of(made, SPACE, WINNER)
    assert found.search is None
    assert found.training.learning_rate == 5e-3
    assert found.data.cut_seed == 3
    assert recipe_of(made, SPACE, {}).training.learning_rate == 1e-6


@pytest.mark.slow
def test_winner_and_default_are_trained_under_the_same_seeds_and_never_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winner, "train_alone", in_this_process)
    made, folder = recipe(tmp_path, test=0.3), tmp_path / "found"
    records = list(finals(made, folder))
    names = ["winner-1", "default-1", "winner-2", "default-2"]
    assert [record["name"] for record in records[:-1]] == names
    verdict = records[-1]["verdict"]
    assert (verdict.split, verdict.num_rows, verdict.metric) == ("test", 27, "accuracy")
    assert list(verdict.winner.scores) == list(verdict.default.scores) == [3, 4]
    for place, seed in ((1, 3), (2, 4)):
        own = Run.open(folder / f"winner-{place}")
        assert own.recipe.training.seed == seed
        assert own.metrics["test"]["accuracy"]["value"] == verdict.winner.scores[seed]
    targets = [[line["target"] for line in Run.open(folder / name).predictions("test")] for name in names]
    assert targets[0] == targets[1] == targets[2] == targets[3]
    assert verdict.outcome == "won"
    gaps = [verdict.winner.scores[seed] - verdict.default.scores[seed] for seed in (3, 4)]
    assert verdict.difference.score.value == pytest.approx(sum(gaps) / 2)
    assert (folder / "winner-1" / "model").is_dir()
    assert not (folder / "default-1" / "model").exists()

    monkeypatch.setattr(winner, "train_alone", None)  # nothing is trained again
    assert list(finals(made, folder))[-1]["verdict"] == verdict


@pytest.mark.slow
def test_without_test_rows_the_validation_rows_judge_and_what_breaks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, **how: Any) -> None:
        if path.stem != "winner-2":
            raise RunError("it broke")
        in_this_process(path, **how)

    monkeypatch.setattr(winner, "train_alone", broken)
    verdict = list(finals(recipe(tmp_path), tmp_path / "found"))[-1]["verdict"]
    assert verdict.split == "validation"
    assert list(verdict.winner.scores) == [4]
    assert verdict.default is None
    assert verdict.difference is None
    assert verdict.refused == dict.fromkeys(("winner-1", "default-1", "default-2"), "it broke")


def test_where_no_final_run_comes_to_its_end_there_is_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, **how: Any) -> None:
        raise RunError("it broke")

    monkeypatch.setattr(winner, "train_alone", broken)
    records = list(finals(recipe(tmp_path), tmp_path / "found", default=False))
    assert [record["event"] for record in records] == ["final", "refused"] * 2 + ["verdict"]
    assert records[-1]["verdict"] is None
