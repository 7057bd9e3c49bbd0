"""What follows from a search, in words that promise no more than the figures hold."""

import pytest

from luthier.evaluation.score import Score
from luthier.studying.importance import Importance
from luthier.studying.standing import Edge, Standing, edges
from luthier.studying.verdict import Difference, Side, Verdict
from luthier.studying.words import conclusions, told_settings
from luthier.trials.space import Space
from tests.studying.standings import ACCURACY, SECONDS, SPACE, standing, trial, whole_search

FEW = Importance(reason="4 trials were judged at one place, and 10 are needed")
RATE = "training.learning_rate"


def side(value: float, num_seeds: int = 3) -> Side:
    return Side(Score(value, value - 0.01, value + 0.01), {seed: value for seed in range(num_seeds)}, 60.0)


def verdict(low: float, high: float, *, split: str = "test", num_seeds: int = 3) -> Verdict:
    middle = (low + high) / 2
    gap = Difference(Score(middle, low, high), 0.02, num_seeds)
    ours, theirs = side(0.9 + middle, num_seeds), side(0.9, num_seeds)
    return Verdict("accuracy", True, split, 500, ours, theirs, gap, {})


def found(made: Standing, judged: Verdict | None = None, shares: Importance = FEW) -> str:
    return "\n".join(conclusions(made, judged, shares))


SIMPLE = standing(
    trial(0, {RATE: 5e-5}, [0.5, 0.6, 0.7]),
    trial(1, {RATE: 3e-4, "training.warmup": 0.05, "method": "full"}, [0.6, 0.7, 0.8]),
    trial(2, {RATE: 1e-5, "training.warmup": 0.05, "method": "full"}, [0.4]),
)


def test_what_is_won_beyond_chance_is_told_with_its_interval() -> None:
    told = found(SIMPLE, verdict(0.01, 0.03))
    assert "Trial 1 is best: accuracy 0.800 on the validation rows, with training.learning_rate 0.0003" in told
    assert "The search won 0.020 of accuracy, beyond chance: accuracy 0.920 [0.910, 0.930], against" in told
    assert "(difference 0.020 [0.010, 0.030], p 0.020; the mean of 3 seeds, on the same 500 test rows)" in told
    assert "flatters" not in told


def test_a_search_that_bought_nothing_says_so() -> None:
    told = found(SIMPLE, verdict(-0.01, 0.03))
    assert "The search bought nothing that these rows can tell" in told
    assert "won" not in told
    assert "worse than the recipe as it stands, beyond chance" in found(SIMPLE, verdict(-0.03, -0.01))


def test_what_the_figures_cannot_hold_is_said() -> None:
    assert "the validation rows that chose the winner also judge it" in found(
        SIMPLE, verdict(0.01, 0.03, split="validation")
    )
    assert "knows the luck of rows, not that of seeds" in found(SIMPLE, verdict(0.01, 0.03, num_seeds=1))
    alone = Verdict("accuracy", True, "test", 500, side(0.9), None, None, {"default-1": "it broke"})
    told = found(SIMPLE, alone)
    assert "there is no run of the recipe as it stands to hold it against" in told
    assert "default-1 was not trained to its end: it broke" in told


def test_a_recipe_that_nothing_beats_is_the_winner() -> None:
    made = standing(trial(0, {RATE: 5e-5}, [0.5, 0.6, 0.7]), trial(1, {RATE: 1e-5}, [0.4]))
    told = found(made, Verdict("accuracy", True, "test", 500, side(0.9), None, None, {}))
    assert told.startswith("Nothing that was tried is better than the recipe as it stands: accuracy 0.700")
    assert "Trained in full: accuracy 0.900" in told
    assert "widen" not in told


def test_trials_that_fail_are_counted_by_their_reasons() -> None:
    failed = [trial(number, {RATE: 1e-3}, [], "failed") for number in (1, 2, 3)]
    made = standing(trial(0, {}, [0.5]), *failed, reasons={1: "out of memory", 2: "out of memory", 3: "no number."})
    told = found(made)
    assert "2 trials failed (1, 2): out of memory." in told
    assert "1 trial failed (3): no number." in told
    assert "4 trials: 0 came to full length, 1 were given up sooner, 3 failed." in told


def test_a_search_in_which_all_fails_has_no_winner() -> None:
    assert found(standing(trial(0, {}, [], "failed"))).startswith("There is no winner: no trial came to be judged.")
    limits = standing(trial(0, {}, [0.5], excess=(0.2,)))
    assert found(limits).startswith("There is no winner: no trial that was judged holds the constraints.")


def test_the_winner_is_feasible_and_came_furthest() -> None:
    made = standing(
        trial(0, {RATE: 1e-5}, [0.1, 0.2, 0.3]),
        trial(1, {RATE: 1e-4}, [0.9, 0.95]),
        trial(2, {RATE: 2e-4}, [0.1, 0.2, 0.9], excess=(0.1,)),
        trial(3, {RATE: 3e-4}, [0.1, 0.2, 0.4]),
        trial(4, {RATE: 4e-4}, [0.1, 0.2, 0.9], "failed"),
    )
    assert made.best is not None
    assert made.best.number == 3


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({RATE: 9.9e-4}, [Edge(RATE, 9.9e-4, True, (1e-5, 1e-3))]),
        ({RATE: 1e-5}, [Edge(RATE, 1e-5, False, (1e-5, 1e-3))]),
        ({RATE: 9e-4 / 2}, []),
        ({"training.warmup": 0.0}, []),  # nothing lies below zero
        ({"training.warmup": 0.2}, [Edge("training.warmup", 0.2, True, (0.0, 0.2))]),
        ({"method": "lora", "method=lora:method.rank": "32"}, [Edge("method.rank", "32", True, (4, 32))]),
        ({"method": "lora", "method=lora:method.rank": "16"}, []),
        ({"method": "full"}, []),  # words have no order
    ],
)
def test_settings_at_an_end_of_their_range_are_found(
    values: dict[str, float | int | str], expected: list[Edge]
) -> None:
    assert edges(SPACE, values) == expected


def test_of_two_numbers_neither_is_an_end_that_matters() -> None:
    assert edges(Space.of({"training.batch_size": {"choice": [16, 32]}}), {"training.batch_size": "32"}) == []


def test_an_end_of_a_range_is_said_to_be_widened() -> None:
    made = standing(trial(0, {}, [0.5]), trial(1, {RATE: 9.9e-4}, [0.6]))
    assert "training.learning_rate 0.00099 lies at the upper end of its range, 1e-5 to 0.001: widen it." in found(made)


def test_the_setting_that_matters_most_is_named_or_the_reason_why_not() -> None:
    shares = Importance({RATE: 0.7, "method": 0.25, "training.warmup": 0.05}, 30, 3)
    told = found(SIMPLE, None, shares)
    assert (
        "training.learning_rate matters most: it alone accounts for 70 % of how scores differ; then method 25 %" in told
    )
    assert "(30 trials after 3/9 of a run)" in told
    assert "Which setting matters most is not known: 4 trials were judged" in found(SIMPLE)


def test_of_several_objectives_the_ends_of_the_front_are_told() -> None:
    goals = (ACCURACY, SECONDS)
    made = standing(
        trial(0, {RATE: 1e-4}, [0.1, 0.2, 0.8], more=(90.0,)),
        trial(1, {RATE: 2e-4}, [0.1, 0.2, 0.7], more=(30.0,)),
        trial(2, {RATE: 3e-4}, [0.1, 0.2, 0.6], more=(40.0,)),
        goals=goals,
    )
    told = found(made)
    assert "2 trials are on the front of accuracy and seconds" in told
    assert "from trial 0 with accuracy 0.800, seconds 90.000 to trial 1 with accuracy 0.700, seconds 30.000" in told


def test_the_cost_is_told_in_full_runs() -> None:
    told = found(whole_search())
    assert "40 trials in 21 min: 5 came to full length, 33 were given up sooner, 2 failed." in told
    assert "of 20 full runs" in told


def test_settings_that_do_not_apply_are_not_told() -> None:
    assert told_settings(SPACE, {"method": "lora", "method=lora:method.rank": "8"}) == "method lora, method.rank 8"
    assert told_settings(SPACE, {}) == "the recipe as it stands"
