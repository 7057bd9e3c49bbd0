"""The table of real fine-tuning is whole, and searches replayed on it come to what it holds."""

import sys
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import search_table
from benchmarks._search_table_replay import Reached, came_to, ours
from benchmarks._search_table_rows import HORIZON, RUNGS, TABLE, Table


@pytest.fixture(scope="module")
def table() -> Table:
    return Table.read()


def test_the_table_is_whole(table: Table) -> None:
    assert len(table.rows) >= 300
    assert [row.number for row in table.rows] == list(range(len(table.rows)))
    assert len({str(sorted(row.values.items())) for row in table.rows}) == len(table.rows)
    assert {row.values["method"] for row in table.rows} == set(table.space.by_name["method"].domain.labels)
    assert TABLE.stat().st_size < 2e6
    for row in table.rows:
        assert table.space.is_whole(row.values)
        assert all(0 <= accuracy <= 1 for accuracy in row.accuracy.values())
        assert all(loss > 0 for loss in row.loss.values())
        assert all(before < after for before, after in pairwise(row.seconds[each] for each in sorted(row.seconds)))
        assert row.seconds.keys() >= row.loss.keys() == row.accuracy.keys()
    assert sum(row.loss.keys() == set(RUNGS) for row in table.rows) >= 300


def test_the_recipe_as_it_stands_is_the_first_row(table: Table) -> None:
    values = table.rows[0].values
    assert (values["method"], values["method=lora:method.rank"]) == ("lora", "16")
    assert values["training.batch_size"] == "16"


def test_a_setting_is_brought_to_the_nearest_of_its_method_that_is_free(table: Table) -> None:
    row = table.rows[7]
    assert table.nearest(row.values, used=()) is row
    other = table.nearest(row.values, used={7})
    assert other is not None
    assert other.number != 7
    assert other.values["method"] == row.values["method"]
    rest = {each.number for each in table.rows if each.values["method"] == row.values["method"]}
    elsewhere = table.nearest(row.values, used=rest)
    assert elsewhere is not None
    assert elsewhere.number not in rest
    assert table.nearest(row.values, used=range(len(table.rows))) is None


def test_a_regret_is_that_of_the_best_full_run_so_far(table: Table) -> None:
    terms, best, standing = table.terms(4), table.best("loss"), table.rows[0].loss[HORIZON]
    ends = [Reached(10, 1.0, best + 0.5), Reached(18, 2.0, best + 0.25), Reached(19, 3.0, best), Reached(36, 4.0, 9.0)]
    found = came_to(table, ends, terms, "loss", 4, 4.0)  # of 36 units, 9 and 18 are a quarter and a half
    assert found.regrets == pytest.approx((standing - best, 0.25, 0.0))
    assert found.seconds_to == (3.0, 3.0)
    assert came_to(table, ends[:2], terms, "loss", 2, 2.0).seconds_to == (None, None)


@pytest.mark.parametrize("searcher", ["auto+auto", "random+asha", "optuna-tpe+hyperband", "optuna-random"])
def test_five_full_runs_are_replayed(searcher: str, table: Table) -> None:
    if searcher.startswith(search_table.OPTUNA):
        pytest.importorskip("optuna")
    row = search_table.summary(table, searcher, range(2), num_runs=5, num_workers=2, score="loss")
    first, half, last = row["mean_regrets"]
    assert first >= half >= last >= 0
    assert row["trials"] >= 5
    assert 0 < row["seconds"] < sum(row.seconds[HORIZON] for row in table.rows)
    again = search_table.summary(table, searcher, range(2), num_runs=5, num_workers=2, score="loss")
    assert again == row


def test_a_full_run_of_random_search_costs_its_seconds_and_workers_share_them(table: Table) -> None:
    alone, four = (ours(table, "random", "full", num_runs=8, num_workers=num, seed=3, score="loss") for num in (1, 4))
    assert alone.num_trials == four.num_trials == 8
    assert alone.regrets[-1] == four.regrets[-1]
    assert alone.seconds / 4 <= four.seconds < alone.seconds


def test_the_replay_keeps_its_results_and_adds_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search_table._record, "RESULTS", tmp_path)
    for searcher in ("random+full", "random+asha"):
        words = ["--searchers", searcher, "--runs", "5", "--workers", "1", "--seeds", "2"]
        monkeypatch.setattr(sys, "argv", ["search_table", *words])
        search_table.main()
    said = capsys.readouterr().out
    assert "random+full" in said.rpartition("searcher")[2]
    kept = search_table.json.loads((tmp_path / "search-replay.json").read_text())
    assert [row["searcher"] for row in kept["rows"]] == ["random+full", "random+asha"]
    assert kept["table"]["configurations"] >= 300
