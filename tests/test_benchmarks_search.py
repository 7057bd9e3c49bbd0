"""The benchmark of searches: both sides mean the same by a setting and stop at the target; ratios worked by hand."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binom

from benchmarks import _search_ours, _search_peer, _search_sides, _search_task, _search_told, search
from benchmarks._search_task import HORIZON, SPACES, Sizes
from luthier.searching.schedulers import _ends
from luthier.studying.recipes import with_values
from luthier.trials.space import Space
from tests.runs import tiny_model
from tests.tiny import separable

SIZES = Sizes(rows_per_class=8, validation_per_class=4, epochs=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of four blocks, and rows of two classes."""
    made = tmp_path_factory.mktemp("search")
    tiny_model(made / "base", num_hidden_layers=4)
    rows = made / "rows-8-4"
    rows.mkdir()
    for name, num in (("train", 16), ("validation", 8)):
        told = [{"text": row["text"], "label": row["label"]} for row in separable(num)]
        (rows / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    return made


@pytest.fixture
def tiny_task(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_search_task, "FOLDER", folder)
    monkeypatch.setattr(_search_task, "MODEL", str(folder / "base"))
    _search_peer.place.cache_clear()
    _search_peer.rows_of.cache_clear()
    yield
    _search_peer.place.cache_clear()
    _search_peer.rows_of.cache_clear()


@pytest.mark.parametrize("space", SPACES)
def test_both_sides_mean_the_same_by_a_setting(space: str, tiny_task: None, tmp_path: Path) -> None:
    from optuna.trial import FixedTrial

    recipe = _search_ours.recipe_of(space, SIZES, tmp_path / "out", budget=20, seed=0)
    whole = Space.of(_search_task.domains(space))
    for setting in _search_task.drawn(space, 5):
        values = _search_task.values(space, setting)
        assert whole.is_whole(values)
        learnt = with_values(recipe, whole, values)
        assert learnt.method == _search_task.method_of(space, setting)
        assert learnt.training.learning_rate == setting["learning_rate"]
        assert learnt.training.batch_size == setting["batch_size"]
        assert _search_peer.suggested(FixedTrial(_search_peer.as_numbers(setting)), space) == setting


@pytest.mark.parametrize("space", SPACES)
def test_both_sides_learn_as_much_and_begin_with_the_same(space: str, tiny_task: None) -> None:
    asked = {
        "sizes": vars(SIZES),
        "space": space,
        "setting": _search_task.start(space, 0),
        "seed": 0,
        "attention": "sdpa",
    }
    assert _search_ours.same(asked)["parameters"] == _search_peer.pool(asked)["parameters"]
    found = _search_ours.search({**asked, "most_runs": 20, "target": 1e9})
    assert found["reached"]
    first = found["jobs"][0]
    assert first["values"] == _search_task.values(space, _search_task.start(space, 0))
    assert found["jobs"][-1]["until"] == HORIZON  # short looks do not count, however good


@pytest.mark.parametrize("side", _search_told.PEERS)
def test_the_peer_ends_at_the_target_or_with_its_budget(side: str, tiny_task: None) -> None:
    asked = {"sizes": vars(SIZES), "space": "last-k", "side": side, "seed": 0, "attention": "sdpa", "most_runs": 1.5}
    at_once = _search_peer.search({**asked, "target": 1e9})
    never = _search_peer.search({**asked, "target": 0.0})
    assert (at_once["reached"], at_once["trials"], at_once["units"]) == (True, 1, HORIZON)
    assert not never["reached"]
    assert never["units"] >= 1.5 * HORIZON > never["units"] - HORIZON


def test_what_is_switched_off_does_not_change_what_is_learnt(tiny_task: None) -> None:
    asked = {"sizes": vars(SIZES), "space": "lora"}
    losses = {
        name: _search_ours.replay({**asked, "variant": name})["loss"] for name in ("all", "no resume", "no sharing")
    }
    assert len(set(losses.values())) == 1


def test_the_sequence_of_the_parts_is_one_of_halving() -> None:
    at = dict.fromkeys(range(9), 0)
    units = 0
    for number, until in _search_ours.SEQUENCE:
        assert until == max(1, at[number] * _search_task.ETA)  # from rung to rung
        units += until - at[number]
        at[number] = until
    assert units == 9 * 1 + 3 * 2 + 1 * 6
    assert sorted(at.values()) == [1] * 6 + [3] * 2 + [9]
    assert _ends.rungs_below(_search_ours.Terms(HORIZON, _search_task.ETA, 99)) == [1, 3]


def test_the_target_is_what_twenty_random_runs_reach_in_the_median() -> None:
    def trained(*losses: float, space: str = "lora") -> dict[str, Any]:
        gaps = {"pool": -0.5, "same": 0.5}  # two trainers, whose luck cancels
        return {
            f"{key}/{space}/{n}": {"loss": loss + gap} for key, gap in gaps.items() for n, loss in enumerate(losses)
        }

    twenty = trained(*range(1, 21))
    assert _search_told.target_of(twenty, "lora") == 1.0  # there is one way to draw 20 of 20
    assert _search_told.target_of({**twenty, **trained(*range(30), space="last-k")}, "last-k") == 0.0  # 2 of 3 times


def test_ratios_are_those_of_medians_and_of_pairs() -> None:
    def side(*seconds: float, reached: bool = True) -> list[dict[str, Any]]:
        common = {"reached": reached, "best": 0.5, "units": 9, "trials": 1, "deciding_s": 0.0}
        return [{"seconds": each, "cpu_s": each / 2, **common} for each in seconds]

    row = _search_told._against(side(1.0, 2.0, 4.0), side(10.0, 10.0, 12.0, reached=False), "lora", "it", "seconds")
    assert (row["ours"], row["peer"], row["ratio"]) == (2.0, 10.0, 5.0)
    assert (row["ratio_least"], row["ratio_paired"], row["ratio_most"]) == (3.0, 5.0, 10.0)
    assert (row["reached_ours"], row["reached_peer"]) == (3, 0)


def test_what_was_measured_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Counted:
        def __init__(self, module: str) -> None:
            self.module = module

        def ask(self, function: str, what: dict[str, Any]) -> dict[str, Any]:
            asked.append(f"{self.module} {function}")
            figures = {"steps_per_s": 1.0, "steps_per_cpu_s": 1.0, "parameters": 1, "units": 9, "trials": 1}
            return {**figures, "loss": 1.0, "seconds": 1.0, "cpu_s": 1.0, "best": 1.0, "reached": 1, "deciding_s": 0.0}

        def close(self) -> None:
            asked.append("closed")

    kept = dict[str, Any]()
    monkeypatch.setattr(search, "Side", Counted)
    monkeypatch.setattr(search, "FOLDER", tmp_path)
    monkeypatch.setattr(search, "keep", lambda name, rows, **more: kept.update({name: rows}))
    monkeypatch.setattr(sys, "argv", ["search", "--seeds", "1", "--pool", "3", "--name", "try"])
    search.main()
    num_first = len(asked)
    search.main()
    assert asked[num_first:] == ["closed", "closed"]
    assert num_first == 2 + 2 + 2 * (3 + 3 + 3 + 3 + len(search.VARIANTS))  # closed, attention, each space
    assert {row["ratio"] for row in kept["try"]} == {1.0, 20.0}


def test_a_side_answers_in_a_process_of_its_own_and_is_warm_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (
        "seen = []",
        "def warm(asked):",
        "    seen.append('warm')",
        "def tell(asked):",
        "    print('libraries write too')",
        "    seen.append(asked['word'])",
        "    return {'seen': seen}",
    )
    (tmp_path / "its_side.py").write_text("\n".join(lines))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    side = _search_sides.Side("its_side")
    assert side.ask("tell", {"word": "a"}) == {"seen": ["warm", "a"]}
    assert side.ask("tell", {"word": "b"}) == {"seen": ["warm", "a", "b"]}
    with pytest.raises(_search_sides.SideFailed, match=r"its_side\.none"):
        side.ask("none", {})
    side.close()


@pytest.mark.parametrize(("num", "expected"), [(1, (1, 1)), (5, (1, 5)), (8, (1, 8)), (9, (2, 8)), (20, (6, 15))])
def test_an_interval_holds_the_median_of_as_many_figures(num: int, expected: tuple[float, float]) -> None:
    assert _search_told.interval([float(each) for each in range(num, 0, -1)]) == expected
    outside = binom.cdf(expected[0] - 1, num, 0.5)
    assert num < 5 or outside <= 0.035 < binom.cdf(expected[0], num, 0.5), "and no narrower one does"
