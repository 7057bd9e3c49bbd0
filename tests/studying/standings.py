"""Searches made up by hand, for the tests of what people look at."""

import random
from dataclasses import replace
from typing import Any

from luthier.studying.standing import Arrival, Goal, Standing
from luthier.trials.history import History, Rung, Terms, Trial
from luthier.trials.space import Space

SAID: dict[str, Any] = {
    "training.learning_rate": {"log": [1e-5, 1e-3]},
    "training.warmup": {"uniform": [0.0, 0.2]},
    "method": {
        "choice": [
            {"kind": "lora", "rank": {"choice": [4, 8, 16, 32]}},
            {"kind": "adapter", "width": {"int": [8, 64]}},
            "full",
        ]
    },
}
SPACE = Space.of(SAID)
ACCURACY, SECONDS = Goal("accuracy", True), Goal("seconds", False)
TERMS = Terms(horizon=9, eta=3, units=180)


def trial(number: int, values: dict[str, Any], scores: list[float], state: Any = "paused", **how: Any) -> Trial:
    """A trial with an accuracy at each of the rungs 1, 3 and 9, ten seconds a unit."""
    rungs = tuple(
        Rung(resource, (-score, *how.get("more", ())), 10.0 * resource, how.get("excess", ()))
        for resource, score in zip((1, 3, 9), scores, strict=False)
    )
    done = "done" if len(rungs) == 3 and state == "paused" else state
    return Trial(number, values, done, rungs[-1].resource if rungs else 1, rungs=rungs)


def standing(*trials: Trial, goals: tuple[Goal, ...] = (ACCURACY,), **how: Any) -> Standing:
    """A search of these trials."""
    made = {"space": SPACE, "goals": goals, "terms": TERMS, **how}
    return Standing(History(trials), **made)


def whole_search(num_trials: int = 40, *, goals: tuple[Goal, ...] = (ACCURACY,), seed: int = 0) -> Standing:
    """Trials whose accuracy depends on the learning rate above all; every ninth comes to the end, two failed."""
    draw = random.Random(seed)
    trials, course = [], []
    for number in range(num_trials):
        values = SPACE.values([draw.random() for _ in SPACE.parameters])
        if number == 0:
            values = {"training.learning_rate": 5e-5}
        if number in (5, 11):
            trials.append(trial(number, values, [], "failed"))
            continue
        rate = SPACE.by_name["training.learning_rate"].domain.unit(values["training.learning_rate"])
        end = 0.9 - 0.5 * (rate - 0.7) ** 2 + 0.01 * draw.random()
        count = 3 if number % 9 == 0 else 2 if number % 3 == 0 else 1
        more = (10.0 + 80 * draw.random(),) if len(goals) > 1 else ()
        made = trial(number, values, [end - 0.1, end - 0.04, end][:count], more=more)
        trials.append(made)
        course += [Arrival(number, rung.resource) for rung in made.rungs]
    reasons = {5: "out of memory", 11: "the loss is no number at step 31"}
    made = standing(*trials, goals=goals, course=tuple(course), duration_s=1234.0)
    return replace(made, reasons=reasons)
