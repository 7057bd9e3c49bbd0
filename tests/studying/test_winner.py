"""Final runs of winner and default, and what their difference says."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from luthier.errors import RunError
from luthier.evaluation.score import Score, metrics_of
from luthier.evaluation.student import mean_with_interval
from luthier.recipe import Recipe, check, read
from luthier.run import Record
from luthier.studying import winner
from luthier.studying.verdict import Difference, Side, Verdict, difference
from luthier.studying.winner import recipe_of, train_finals
from luthier.trials.space import Space
from tests.report.folder import make_run, share_right

SPACE = Space.of({"training.learning_rate": {"log": [1e-6, 1e-1]}})
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


def recipe(folder: Path) -> Recipe:
    raw = {
        "model": "package:some_model/model",
        "data": "train.csv",
        "task": {"kind": "text-classification", "problem": "single-label", "labels": ["ham", "spam"]},
        "training": {"learning_rate": 1e-6, "seed": 3},
        "output": str(folder / "found"),
        "search": {"replicates": 2},
    }
    return check(raw)


class Trainer:
    """Stands in for a process that trains: a run whose answers are right as often as is said for its name."""

    def __init__(self, splits: Sequence[str] = ("validation", "test"), **right: int) -> None:
        self.trained: list[str] = []
        self._splits, self._right = splits, {name.replace("_", "-"): count for name, count in right.items()}

    def __call__(self, path: Path, *, command: str, overwrite: bool) -> None:
        self.trained.append(path.stem)
        if path.stem not in self._right:
            raise RunError("it broke")
        rows = share_right(self._right[path.stem], 100)
        make_run(path.with_suffix(""), dict.fromkeys(self._splits, rows), labels=("ham", "spam")).log("done")


def finals(made: Recipe, folder: Path, trainer: Trainer, *, rate: float = 5e-3, default: bool = True) -> list[Record]:
    """What happens where the winner has this learning rate."""
    folder.mkdir(exist_ok=True)
    other = recipe_of(made, SPACE, {}) if default else None
    won = recipe_of(made, SPACE, {"training.learning_rate": rate})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winner, "train_alone", trainer)
        return list(train_finals(won, other, folder, replicates=2, metric="accuracy"))


def test_a_finals_recipe_searches_nothing_and_cuts_the_same_rows_under_every_seed(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    found = recipe_of(made, SPACE, {"training.learning_rate": 5e-3})
    assert found.search is None
    assert found.training.learning_rate == 5e-3
    assert found.data.cut_seed == 3
    assert recipe_of(made, SPACE, {}).training.learning_rate == 1e-6


def test_winner_and_default_are_trained_under_the_same_seeds_and_judged_by_test_rows(tmp_path: Path) -> None:
    made, folder = recipe(tmp_path), tmp_path / "found"
    trainer = Trainer(winner_1=96, winner_2=98, default_1=80, default_2=84)
    *records, last = finals(made, folder, trainer)
    assert [record["name"] for record in records] == ["winner-1", "default-1", "winner-2", "default-2"]
    assert trainer.trained == [record["name"] for record in records]
    for place, seed in ((1, 3), (2, 4)):
        for side, rate in (("winner", 5e-3), ("default", 1e-6)):
            asked = read(folder / f"{side}-{place}.yaml").training
            assert (asked.seed, asked.learning_rate) == (seed, rate)
    verdict = last["verdict"]
    assert (verdict.split, verdict.num_rows, verdict.metric) == ("test", 100, "accuracy")
    assert verdict.winner.scores == {3: 0.96, 4: 0.98}
    assert verdict.winner.score.value == pytest.approx(0.97)
    assert verdict.default.scores == {3: 0.8, 4: 0.84}
    assert verdict.winner.duration_s == 12.5
    assert verdict.difference.score.value == pytest.approx(0.15)
    assert verdict.outcome == "won"


def test_the_winners_models_are_kept_and_the_defaults_are_not(tmp_path: Path) -> None:
    finals(recipe(tmp_path), tmp_path / "found", Trainer(winner_1=96, default_1=80))
    assert (tmp_path / "found" / "winner-1" / "model").is_dir()
    assert not (tmp_path / "found" / "default-1" / "model").exists()
    assert (tmp_path / "found" / "default-1" / "predictions" / "test.jsonl").is_file()


def test_what_is_done_is_not_done_again_and_another_winner_is(tmp_path: Path) -> None:
    made, folder = recipe(tmp_path), tmp_path / "found"
    right = {"winner_1": 96, "winner_2": 98, "default_1": 80, "default_2": 84}
    first = finals(made, folder, Trainer(**right))[-1]["verdict"]
    again = Trainer()
    assert finals(made, folder, again)[-1]["verdict"] == first
    assert again.trained == []
    other = Trainer(winner_1=70, winner_2=70)
    assert finals(made, folder, other, rate=2e-3)[-1]["verdict"].outcome == "lost"
    assert other.trained == ["winner-1", "winner-2"]


def test_without_test_rows_the_validation_rows_judge_and_what_breaks_is_told(tmp_path: Path) -> None:
    trainer = Trainer(["validation"], winner_2=90, default_1=80)
    verdict = finals(recipe(tmp_path), tmp_path / "found", trainer)[-1]["verdict"]
    assert verdict.split == "validation"
    assert verdict.winner.scores == {4: 0.9}
    assert verdict.default.scores == {3: 0.8}
    assert verdict.difference is None
    assert verdict.outcome == "unknown"
    assert verdict.refused == dict.fromkeys(("winner-1", "default-2"), "it broke")


def test_where_no_final_run_comes_to_its_end_there_is_no_verdict(tmp_path: Path) -> None:
    records = finals(recipe(tmp_path), tmp_path / "found", Trainer(), default=False)
    assert [record["event"] for record in records] == ["final", "refused"] * 2 + ["verdict"]
    assert records[-1]["verdict"] is None
