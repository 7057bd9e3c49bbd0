"""The table of regrets: medians over seeds, and what has no full run yet is worse than any."""

from benchmarks._searched import Task
from benchmarks._searchers import regrets
from benchmarks.search_regret import medians, paired, shown

BOWL = Task(2, 0.0, lambda point, units: sum((each - 0.3) ** 2 for each in point.values()) + 1 / units - 1 / 9, True)


def test_no_full_run_yet_is_worse_than_any() -> None:
    assert medians({"0": [None, 0.5, 0.1], "1": [0.9, 0.3, 0.2], "2": [None, 0.4, 0.3]}) == [None, 0.4, 0.2]


def test_differences_are_of_the_same_seeds() -> None:
    runs = {"mfh3_good": {"auto": {"0": [1.0, 0.5, 0.2], "1": [1.0, 1.0, 1.0]}, "peer": {"0": [2.0, 0.5, 0.1]}}}
    assert [round(each, 6) for each in paired(runs, "auto", "peer")["mfh3_good"]] == [-1.0, 0.0, 0.1]


def test_the_table_has_a_row_for_each_searcher_that_was_run() -> None:
    lines = shown({"mfh3_good": {"auto": {"0": [None, 0.5, 0.25]}, "optuna gp": {"0": [1.0, 0.5, 0.1]}}}).splitlines()
    assert lines[1:] == [
        "| searcher | seeds | mfh3_good |",
        "|---|---|---|",
        "| auto | 1 | - 0.5 0.25 |",
        "| optuna gp | 1 | 1 0.5 0.1 |",
    ]


def test_regret_falls_with_the_budget_for_both_sides() -> None:
    for searcher in ("random, asha", "optuna random + hyperband"):
        quarter, half, whole = (9.0 if each is None else each for each in regrets(BOWL, searcher, seed=0))
        assert quarter >= half >= whole >= 0
        assert whole < 0.1
