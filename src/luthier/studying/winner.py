"""After a search: the winner and the recipe as it stands are trained anew, in full, under the same seeds.

Each is an ordinary run of its own, in a process of its own (several.py), judged by test rows that no trial has seen.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from luthier import files
from luthier.comparing.outcome import row_statistics
from luthier.errors import LuthierError
from luthier.evaluation.metrics import Metric
from luthier.evaluation.student import mean_with_interval
from luthier.recipe import Recipe, dump
from luthier.report.evidence import Evidence
from luthier.run import Record, Run
from luthier.several import train_alone
from luthier.studying.recipes import with_values
from luthier.studying.verdict import Side, Verdict, difference
from luthier.trials.history import Values
from luthier.trials.space import Space

WINNER, DEFAULT = "winner", "default"


@dataclass
class Finals:
    """The final runs that came to their end, by seed, and those that did not."""

    winner: dict[int, Run] = field(default_factory=dict)
    default: dict[int, Run] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def recipe_of(recipe: Recipe, space: Space, values: Values) -> Recipe:
    """The recipe of a run with these values, whose rows are those of the search whatever its own seed.

    Raises RecipeError where that is no recipe.
    """
    own = with_values(recipe, space, values)
    if own.data.cut_seed is not None:
        return own
    return own.changed({"data.cut_seed": own.training.seed}, where="search")


def train_finals(
    winner: Recipe, default: Recipe | None, folder: Path, *, replicates: int, metric: str | None = None
) -> Iterator[Record]:
    """Train both under so many seeds, what is done is not done again; the last record holds the verdict, or None.

    `metric` judges; where it is none of the task's, the one that the runs are judged by. The winner's models are kept,
    the default's are not. Raises Interrupted where it was stopped.
    """
    finals, sides = Finals(), {WINNER: winner, **({DEFAULT: default} if default else {})}
    plan = [(number, name) for number in range(1, replicates + 1) for name in sides]
    for place, (number, name) in enumerate(plan, 1):
        seed, called = sides[name].training.seed + number - 1, f"{name}-{number}"
        yield {"event": "final", "name": called, "number": place, "of": len(plan)}
        try:
            run = _trained(sides[name], seed, folder, called)
            getattr(finals, name)[seed] = run
        except LuthierError as error:
            finals.refused[called] = str(error)
            yield {"event": "refused", "name": called, "reason": str(error)}
    yield {"event": "verdict", "verdict": judged(finals, metric), "refused": finals.refused}


def _trained(recipe: Recipe, seed: int, folder: Path, called: str) -> Run:
    """One final run at its end; a run of other settings makes room."""
    own = recipe.changed({"training.seed": seed, "output": str(folder / called)}, where=called)
    kept, text, run = folder / f"{called}.yaml", dump(own), Run(folder / called)
    if not (kept.is_file() and kept.read_text(encoding="utf-8") == text):
        files.discard(run.folder)
        files.write_text(kept, text)
    if not run.is_done:
        train_alone(kept, command="search", overwrite=False)
        if called.startswith(DEFAULT):
            for weights in (run.model_folder, run.adapter_folder):
                files.discard(weights)
    return Run.open(run.folder)


def judged(finals: Finals, metric: str | None) -> Verdict | None:
    """What the final runs say; None where none of the winner's came to its end, or no rows judge them."""
    first = next(iter(finals.winner.values()), None)
    if first is None:
        return None
    evidence = Evidence.of(first)
    judge, split = evidence.metrics.get(metric or "", evidence.main), evidence.judged
    if split is None:
        return None
    winner = _side(finals.winner, split, judge)
    default = _side(finals.default, split, judge)
    if winner is None:
        return None
    shared = [seed for seed in winner.scores if default and seed in default.scores]
    pairs = [
        (row_statistics(judge, finals.winner[seed], split), row_statistics(judge, finals.default[seed], split))
        for seed in shared
    ]
    return Verdict(
        metric=judge.name,
        higher_is_better=judge.higher_is_better,
        split=split,
        num_rows=evidence.rows.get(split, 0),
        winner=winner,
        default=default,
        difference=difference(judge, pairs) if pairs else None,
        refused=dict(finals.refused),
    )


def _side(runs: Mapping[int, Run], split: str, metric: Metric) -> Side | None:
    """The scores of one recipe's runs; None where there is none."""
    found = {seed: Evidence.of(run) for seed, run in runs.items()}
    scores = {seed: score.value for seed, each in found.items() if (score := each.score(split, metric.name))}
    if not scores:
        return None
    seconds = fmean(found[seed].last("trained")["duration_s"] for seed in scores)
    return Side(mean_with_interval(list(scores.values())), scores, seconds)
