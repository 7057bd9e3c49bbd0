"""What follows from a search, in words: what it won, what it cost, and what to look at next."""

from collections import defaultdict

from luthier.evaluation.score import Score
from luthier.report.words import count, duration, interval, listed, number, percent, setting
from luthier.studying.importance import Importance
from luthier.studying.standing import Edge, Standing, edges, rung_of
from luthier.studying.verdict import Side, Verdict
from luthier.trials.history import Trial, Value, Values
from luthier.trials.space import Space

AS_IT_STANDS = "the recipe as it stands"
MOST_NAMED = 3
"""Settings that are said to matter."""
MATTERS = 0.1
"""Share of the variance that is worth a word."""


def conclusions(standing: Standing, verdict: Verdict | None, found: Importance) -> list[str]:
    """Sentences for somebody who asked which settings are best."""
    best = standing.best
    told = [_best(standing, best)]
    if best is not None:
        told += [*_verdict(verdict, best)] if verdict else []
        told += [*_front(standing)]
    told.append(_cost(standing))
    told += [*_failures(standing)]
    if best is not None and best.number != 0:
        told += [_edge(edge) for edge in edges(standing.space, best.values)]
    return [*told, _matters(standing, found)]


def told_settings(space: Space, values: Values) -> str:
    """A trial's settings on one line, those that do not apply left out."""
    shown = [f"{p.path} {written(values[p.name])}" for p in space.active(values) if p.name in values]
    return ", ".join(shown) or AS_IT_STANDS


def written(value: Value) -> str:
    """A setting's value as people write it."""
    return f"{value:.3g}".replace("e-0", "e-") if isinstance(value, float) else setting(value)


def part_of(resource: int, standing: Standing) -> str:
    """How far a rung is."""
    return "a full run" if resource == standing.terms.horizon else f"{resource}/{standing.terms.horizon} of a run"


def _best(standing: Standing, best: Trial | None) -> str:
    if best is None:
        broken = any(trial.rungs for trial in standing.history.trials)
        why = "no trial that was judged holds the constraints" if broken else "no trial came to be judged"
        return f"There is no winner: {why}."
    score = standing.goal.score(rung_of(best).values[0])
    of = "" if best.resource == standing.terms.horizon else f" after {part_of(best.resource, standing)}"
    told = f"{standing.goal.name} {number(score)} on the validation rows{of}"
    if best.number == 0:
        return f"Nothing that was tried is better than {AS_IT_STANDS}: {told}."
    return f"Trial {best.number} is best: {told}, with {told_settings(standing.space, best.values)}."


def _verdict(verdict: Verdict, best: Trial) -> list[str]:
    rows = f"the same {count(verdict.num_rows)} {verdict.split} rows"
    num = len(verdict.winner.scores)
    means = f"the mean of {num} seeds" if num > 1 else "one seed"
    told = (
        [_won(verdict, f"{means}, on {rows}")]
        if best.number
        else [
            f"Trained in full: {verdict.metric} {_mean(verdict.winner)}, {means}, on {count(verdict.num_rows)} "
            f"{verdict.split} rows."
        ]
    )
    if verdict.split != "test":
        told.append(
            f"No test rows are set apart: the {verdict.split} rows that chose the winner also judge it here, which "
            "flatters it. Give data.test."
        )
    if verdict.difference and verdict.difference.num_seeds == 1:
        told.append("Of one seed, the interval knows the luck of rows, not that of seeds: search.replicates 3 does.")
    return told + [f"{name} was not trained to its end: {why}" for name, why in verdict.refused.items()]


def _won(verdict: Verdict, means: str) -> str:
    if verdict.difference is None or verdict.default is None:
        return (
            f"Trained in full, the winner has {verdict.metric} {_mean(verdict.winner)}, {means}; there is no run of "
            f"{AS_IT_STANDS} to hold it against."
        )
    sides = f"{verdict.metric} {_mean(verdict.winner)}, against {_mean(verdict.default)} of {AS_IT_STANDS}"
    score = verdict.difference.score
    apart = f"difference {number(score.value)} {interval(score)}, p {number(verdict.difference.p_value)}"
    match verdict.outcome:
        case "won":
            won = f"{number(abs(score.value))} of {verdict.metric}"
            return f"The search won {won}, beyond chance: {sides} ({apart}; {means})."
        case "lost":
            return (
                f"The winner is worse than {AS_IT_STANDS}, beyond chance: {sides} ({apart}; {means}). Keep the recipe."
            )
        case "nothing":
            return (
                f"The search bought nothing that these rows can tell: {sides} ({apart}; {means}). More test rows or "
                "seeds (search.replicates) would tell smaller differences."
            )
        case _:
            return f"Whether the search won anything is not known: {sides} ({means})."


def _mean(side: Side) -> str:
    return f"{number(side.score.value)}{_ends(side.score)}"


def _ends(score: Score) -> str:
    return f" {interval(score)}" if score.low == score.low else ""


def _front(standing: Standing) -> list[str]:
    if len(standing.goals) < 2:
        return []
    front = standing.front
    names = " and ".join(goal.name for goal in standing.goals)
    told = [f"trial {trial.number} with {_scores(standing, trial)}" for trial in front]
    many = f"{len(front)} trials are" if len(front) > 1 else "One trial is"
    ends = f"from {told[0]} to {told[-1]}" if len(front) > 1 else told[0]
    return [f"{many} on the front of {names}, where no other is better in all: {ends}."]


def _scores(standing: Standing, trial: Trial) -> str:
    pairs = zip(standing.goals, rung_of(trial).values, strict=True)
    return ", ".join(f"{goal.name} {number(goal.score(value))}" for goal, value in pairs)


def _cost(standing: Standing) -> str:
    trials, horizon = standing.history.trials, standing.terms.horizon
    whole = sum(trial.resource == horizon for trial in trials)
    failed, running = len(standing.in_state("failed")), len(standing.in_state("running"))
    parts = [f"{whole} came to full length"]
    if sooner := len(trials) - whole - failed - running:
        parts.append(f"{sooner} were given up sooner")
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{running} are running"] if running else []
    used = f"{standing.full_runs(standing.used):.3g}"
    of_all = (
        f"{used} full runs"
        if standing.units is None
        else f"{used} of {standing.full_runs(standing.units):.3g} full runs"
    )
    time = f" in {duration(standing.duration_s)}" if standing.duration_s else ""
    took = f"{of_all}, {duration(standing.seconds)} of training and judging"
    return f"{_trials(len(trials))}{time}: {', '.join(parts)}. They took {took}."


def _trials(num: int) -> str:
    return f"{count(num)} trial{'s' if num != 1 else ''}"


def _failures(standing: Standing) -> list[str]:
    by_reason = defaultdict[str, list[int]](list)
    for trial in standing.in_state("failed"):
        by_reason[standing.reasons.get(trial.number, "the reason is not known")].append(trial.number)
    return [
        f"{_trials(len(numbers))} failed ({listed([str(each) for each in numbers])}): {reason.rstrip('.')}."
        for reason, numbers in by_reason.items()
    ]


def _edge(edge: Edge) -> str:
    least, most = (written(end) for end in edge.ends)
    end = "upper" if edge.is_upper else "lower"
    return f"{edge.path} {written(edge.value)} lies at the {end} end of its range, {least} to {most}: widen it."


def _matters(standing: Standing, found: Importance) -> str:
    if found.reason:
        return f"Which setting matters most is not known: {found.reason}."
    path = {parameter.name: parameter.path for parameter in standing.space.parameters}
    named = [(path.get(name, name), share) for name, share in found.shares.items()][:MOST_NAMED]
    (first, most), *others = named
    beside = [f"{name} {percent(round(share, 2))}" for name, share in others if share >= MATTERS]
    more = f"; then {listed(beside)}" if beside else ""
    at = f"{found.num_trials} trials after {part_of(found.resource, standing)}"
    return f"{first} matters most: it alone accounts for {percent(round(most, 2))} of how scores differ{more} ({at})."
