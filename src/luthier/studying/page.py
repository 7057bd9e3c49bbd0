"""A search as one page of HTML: what follows, how it went, what the settings do, the best trials, what failed."""

from collections.abc import Sequence

from luthier.evaluation.score import Score
from luthier.report.markup import Markup, join, table, tag
from luthier.report.page import of_sections
from luthier.report.words import MISSING, duration, interval, number
from luthier.studying.importance import Importance
from luthier.studying.plots_course import best_so_far, rungs
from luthier.studying.plots_front import by_seed, front
from luthier.studying.plots_settings import importance_bars, parallel, short_names, slices
from luthier.studying.standing import Standing, rung_of
from luthier.studying.verdict import Verdict
from luthier.studying.words import AS_IT_STANDS, written
from luthier.trials.history import Trial

MOST_ROWS = 15
"""Trials in the table; the store has all."""
EXPLAINED = (
    "Dark marks were judged at the winner's rung, pale ones were given up sooner. What scored far worse than the rest "
    "lies on the border. The pointer on a mark tells which trial it is."
)
BY_SEED = (
    "Both were trained in full under the same seeds and judged by the same rows. The interval of the difference counts "
    "the luck of seeds and of rows."
)
SHARES = (
    "How much of the scores' variance each setting accounts for by itself (fANOVA); what it does only together with "
    "others is left out."
)


def page(title: str, standing: Standing, verdict: Verdict | None, found: Importance, conclusions: Sequence[str]) -> str:
    """The whole page."""
    sections = {
        "What follows": join(tag("p", sentence) for sentence in conclusions),
        "Winner and recipe": _finals(verdict) if verdict else Markup(""),
        "Course": join([best_so_far(standing), rungs(standing)]),
        "Front": join(front(standing)),
        "Settings": _settings(standing),
        "Importance": join([importance_bars(standing.space, found), *_muted(SHARES, when=not found.reason)]),
        "Best trials": _table(standing),
        "Failed": _failed(standing),
    }
    return of_sections(title, sections)


def _muted(text: str, *, when: bool = True) -> list[Markup]:
    return [tag("p", text, class_="muted")] if when else []


def _settings(standing: Standing) -> Markup:
    drawn = [parallel(standing), slices(standing)]
    return join([*drawn, *_muted(EXPLAINED)]) if any(drawn) else Markup("")


def _finals(verdict: Verdict) -> Markup:
    if verdict.default is None:
        seeds = [[f"seed {seed}", number(score)] for seed, score in verdict.winner.scores.items()]
        return table(["", f"{verdict.metric}, {verdict.split}"], seeds)
    ours, theirs = verdict.winner, verdict.default
    rows: list[list[object]] = []
    for seed in sorted({*ours.scores, *theirs.scores}):
        pair = ours.scores.get(seed), theirs.scores.get(seed)
        apart = number(pair[0] - pair[1]) if pair[0] is not None and pair[1] is not None else MISSING
        rows.append([f"seed {seed}", *(MISSING if each is None else number(each) for each in pair), apart])
    mean = [_mean(verdict.winner.score), _mean(theirs.score)]
    gap = verdict.difference
    rows.append(["mean", *mean, f"{number(gap.score.value)} {interval(gap.score)}" if gap else MISSING])
    head = ["", "the winner", AS_IT_STANDS, "difference [95 % interval]"]
    return join([by_seed(verdict), table(head, rows), *_muted(BY_SEED)])


def _mean(score: Score) -> str:
    return f"{number(score.value)} {interval(score)}" if score.low == score.low else number(score.value)


def _table(standing: Standing) -> Markup:
    """The best trials, those further on first."""
    fit = [trial for trial in standing.history.trials if trial.last and trial.state != "failed"]
    ranked = sorted(fit, key=lambda trial: (not rung_of(trial).is_feasible, -trial.resource, rung_of(trial).values))
    names = short_names(standing.space)
    head = ["trial", *(goal.name for goal in standing.goals), "of a run", "paid", *names.values()]
    return table(head, [_row(standing, trial, list(names)) for trial in ranked[:MOST_ROWS]]) if ranked else Markup("")


def _row(standing: Standing, trial: Trial, names: Sequence[str]) -> list[object]:
    rung = rung_of(trial)
    scores = [number(goal.score(value)) for goal, value in zip(standing.goals, rung.values, strict=True)]
    settings = [written(trial.values[name]) if name in trial.values else MISSING for name in names]
    called = (
        f"{trial.number}{', the recipe' if trial.number == 0 else ''}{'' if rung.is_feasible else ', breaks a limit'}"
    )
    return [called, *scores, f"{trial.resource}/{standing.terms.horizon}", duration(rung.seconds), *settings]


def _failed(standing: Standing) -> Markup:
    failed = standing.in_state("failed")
    names = short_names(standing.space)
    rows = [
        [
            f"{trial.number}",
            tag("td", standing.reasons.get(trial.number, MISSING), style="text-align:left;white-space:normal"),
            *(written(trial.values[name]) if name in trial.values else MISSING for name in names),
        ]
        for trial in failed
    ]
    return table(["trial", "reason", *names.values()], rows) if rows else Markup("")
