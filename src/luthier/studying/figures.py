"""A search as plain values, for search.json and for other programs; scores are as people know them, not turned."""

from dataclasses import asdict
from typing import Any

from luthier.studying.standing import Standing, rung_of
from luthier.trials.history import Trial


def told_standing(standing: Standing) -> dict[str, Any]:
    """Trials, budget and time as plain values."""
    return {
        "objectives": [asdict(goal) for goal in standing.goals],
        "horizon": standing.terms.horizon,
        "budget": {
            "units": standing.units,
            "units_used": standing.used,
            "seconds": standing.limit_s,
            "seconds_gone": standing.duration_s,
            "seconds_of_trials": standing.seconds,
        },
        "trials": [told_trial(standing, trial) for trial in standing.history.trials],
    }


def told_trial(standing: Standing, trial: Trial) -> dict[str, Any]:
    """A trial as plain values."""
    names = [goal.name for goal in standing.goals]

    def scores(values: tuple[float, ...]) -> dict[str, float]:
        turned = (goal.score(value) for goal, value in zip(standing.goals, values, strict=True))
        return dict(zip(names, turned, strict=True))

    rungs = [
        {
            "resource": rung.resource,
            "scores": scores(rung.values),
            "seconds": rung.seconds,
            "feasible": rung.is_feasible,
        }
        for rung in trial.rungs
    ]
    about = {"number": trial.number, "state": trial.state, "settings": standing.space.settings(trial.values)}
    reason = standing.reasons.get(trial.number)
    score = scores(rung_of(trial).values) if trial.last else None
    return {**about, "scores": score, "rungs": rungs, **({"reason": reason} if reason else {})}
