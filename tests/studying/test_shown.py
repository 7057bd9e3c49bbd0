"""A search on the screen: plain lines where there is no terminal, a live table where there is one."""

import io
from typing import Any

from rich.console import Console

from luthier.evaluation.score import Score
from luthier.studying.shown import Screen, print_trials, print_verdict, summary
from luthier.studying.standing import Standing
from luthier.studying.verdict import Difference, Side, Verdict
from luthier.trials.history import Terms, Trial
from tests.studying.standings import ACCURACY, SECONDS, standing, trial, whole_search

RATE = "training.learning_rate"
VERDICT = Verdict(
    "accuracy",
    True,
    "test",
    1500,
    Side(Score(0.91, 0.90, 0.92), {0: 0.91, 1: 0.92}, 60.0),
    Side(Score(0.90, 0.89, 0.91), {0: 0.90}, 60.0),
    Difference(Score(0.01, 0.005, 0.015), 0.01, 1),
    {},
)


def shown(*records: dict[str, Any], terminal: bool = False) -> str:
    """What stands on the screen after these records."""
    file = io.StringIO()
    console = Console(file=file, highlight=False, soft_wrap=True, width=100, force_terminal=terminal, color_system=None)
    with Screen(console) as screen:
        for record in records:
            screen.show(record)
        if terminal:
            screen._live.refresh()
    return file.getvalue()


def judged(*trials: Trial) -> list[dict[str, Any]]:
    """The records of trials that are judged one after the other, at their last rungs."""
    found: list[dict[str, Any]] = []
    for count, each in enumerate(trials, 1):
        found.append({"event": "judged", "trial": each.number, "rung": each.last})
        found.append({"event": "standing", "standing": standing(*trials[:count])})
    return found


def test_each_judged_rung_is_a_line_and_a_new_best_is_marked() -> None:
    trials = [trial(0, {RATE: 1e-4}, [0.5]), trial(1, {RATE: 2e-4}, [0.4]), trial(2, {RATE: 3e-4}, [0.6])]
    told = shown(*judged(*trials)).splitlines()
    assert told == [
        "judged    trial 0 after 1/9 of a run: accuracy 0.500  (best so far)",
        "          training.learning_rate 0.0001",
        "judged    trial 1 after 1/9 of a run: accuracy 0.400",
        "judged    trial 2 after 1/9 of a run: accuracy 0.600  (best so far)",
        "          training.learning_rate 0.0003",
    ]


def test_what_breaks_a_limit_is_never_the_best() -> None:
    told = shown(*judged(trial(0, {}, [0.5]), trial(1, {}, [0.9], excess=(0.1,))))
    assert "trial 1 after 1/9 of a run: accuracy 0.900  (breaks a limit)" in told


def test_failures_lost_workers_and_the_end_of_time_are_told() -> None:
    told = shown(
        {"event": "plan", "told": "training.learning_rate for accuracy", "notes": ["test: [a] is cut"]},
        {"event": "failed", "trial": 3, "reason": "out of [memory]"},
        {"event": "worker-lost", "worker": "a/b-1", "reason": "killed by signal 9"},
        {"event": "time-over", "seconds": 60.0},
        {"event": "began", "trial": 4, "until": 1, "values": {}, "bracket": 0},
    )
    assert told.splitlines() == [
        "search    training.learning_rate for accuracy",
        "note      test: [a] is cut",
        "failed    trial 3: out of [memory]",
        "lost      a worker: killed by signal 9; another one goes on",
        "time      is over: what runs is stopped",
    ]


def test_the_summary_counts_trials_rungs_budget_and_time() -> None:
    lines = dict(summary(whole_search()))
    assert lines["trials"] == "40: 33 paused, 5 done, 2 failed"
    assert lines["best"].startswith("accuracy 0.903 of trial 18 after a full run: training.learning_rate")
    assert lines["rungs"] == "1/9: 38   3/9: 14   9/9: 5"
    assert lines["budget"] == "10.9 of 20 full runs, 9.11 left"  # 5 * 9 + 9 * 3 + 24 units, and one for each failure
    assert lines["time"] == "21 min"


def test_a_budget_of_time_is_told_before_and_after_it_is_known_in_runs() -> None:
    unknown = Terms(horizon=9, eta=3, units=2**62)
    lines = dict(summary(standing(terms=unknown, duration_s=30.0, limit_s=120.0), gone_s=30.0))
    assert lines["budget"].startswith("0 full runs; how many fit the time is known after the first rung")
    assert lines["time"] == "1 min of 2 min"
    assert lines["best"] == "—"


def test_in_a_terminal_the_table_names_what_runs() -> None:
    running = Trial(7, {RATE: 2e-4}, "running", 3, rungs=trial(7, {}, [0.5]).rungs)
    made = standing(trial(0, {RATE: 1e-4}, [0.5]), running)
    told = shown({"event": "standing", "standing": made}, terminal=True)
    assert "running to 3/9" in told
    assert "1 running, 1 paused" in told


def test_all_trials_are_a_table_with_what_does_not_apply_left_open() -> None:
    file = io.StringIO()
    made = standing(
        trial(0, {RATE: 1e-4}, [0.5], more=(10.0,)),
        trial(1, {"method": "lora", "method=lora:method.rank": "8"}, [], "failed"),
        goals=(ACCURACY, SECONDS),
    )
    print_trials(made, Console(file=file, width=60))
    head, first, second = (line.split() for line in file.getvalue().splitlines())
    assert head == [
        "trial",
        "state",
        "judged",
        "accuracy",
        "seconds",
        "learning_rate",
        "warmup",
        "method",
        "rank",
        "width",
    ]
    assert first == ["0", "paused", "1/9", "0.500", "10.000", "0.0001", *"———————"[:4]]
    assert second == ["1", "failed", "—", "—", "—", "—", "—", "lora", "8", "—"]


def test_the_verdict_is_a_table_by_seed() -> None:
    file = io.StringIO()
    print_verdict(VERDICT, Console(file=file, width=100))
    lines = [line.strip() for line in file.getvalue().splitlines()]
    assert "accuracy on 1,500 test rows" in lines
    assert [line.split() for line in lines if line.startswith("seed")] == [
        ["seed", "0", "0.910", "0.900"],
        ["seed", "1", "0.920", "—"],
    ]
    assert any(line.split() == ["difference", "0.010", "[0.005,", "0.015]"] for line in lines)


def test_the_end_shows_the_summary_and_what_follows() -> None:
    made: Standing = whole_search()
    told = shown(
        {"event": "standing", "standing": made},
        {"event": "ended", "standing": made},
        {"event": "final", "name": "winner-1", "number": 1, "of": 6},
        {"event": "refused", "name": "winner-1", "reason": "it broke"},
        {"event": "searched", "verdict": VERDICT, "conclusions": ["The search won [0.1]."], "found": None},
    )
    assert "trials    40: 33 paused" in told
    assert "1 of 6    winner-1" in told
    assert "refused   winner-1: it broke" in told
    assert "The search won [0.1]." in told
