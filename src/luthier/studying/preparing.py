"""From a recipe to a search: rows and sizes are looked at once, whatever was auto is filled in, nothing is trained."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.environment import environment
from luthier.errors import RecipeError
from luthier.groundwork import Rows, read_rows
from luthier.planning.plan import num_steps
from luthier.planning.subject import Subject, ready, subject_of
from luthier.recipe import Recipe, dump
from luthier.resume import FREE
from luthier.searching.auto_space import auto_space
from luthier.searching.budget import Unit
from luthier.searching.choosing import choose, settle
from luthier.searching.settings import Search
from luthier.studying.goals import goals_of
from luthier.studying.opening import earlier_trials, name_of
from luthier.studying.plan import Plan
from luthier.studying.recipes import values_in
from luthier.studying.spending import Budget
from luthier.studying.study import Search as Study
from luthier.trials.space import Space

PERFORMER = "luthier.studying.session:make"
APART = {"data", "output", "search", "compare"}
"""Parts of a recipe that a trial's score does not depend on, or that are known by their content."""


@dataclass(frozen=True)
class Prepared:
    """A search that can begin."""

    recipe: Recipe
    """With its space written out, and rows that no seed moves."""
    study: Study
    told: str
    """What is about to happen, in a sentence."""
    notes: tuple[str, ...]


def prepared(recipe: Recipe, *, num_workers: int = 1, keeps_budget: bool = False) -> Prepared:
    """The search that a recipe asks for; without a section `search` all of it is as usual.

    Raises RecipeError where it cannot be searched, DataError where rows are missing or broken.
    """
    recipe = _settled(recipe)
    search = _section(recipe)
    rows = read_rows(recipe)
    if rows.splits.validation is None:
        raise RecipeError("data.validation: trials are judged by validation rows; give some, as data.validation: 0.1")
    subject = subject_of(recipe, rows=rows)
    space, run = _looked_at(recipe, search, subject)
    written = recipe.changed({"search.space": search.space if search.said_space else run.space}, where="search")
    goals = goals_of(search, rows.task)
    plan = Plan(
        space=space,
        goals=goals,
        sampler=search.sampler,
        scheduler=search.scheduler,
        horizon=search.horizon,
        eta=search.eta,
        seed=search.seed,
        default=values_in(space, recipe),
        constraints=tuple(search.constraints),
        base=dict(_fingerprints(recipe, rows)),
    )
    folder, budget = Path(recipe.output), _budget(search, run.amounts, num_workers)
    study = Study(
        folder=folder,
        plan=plan,
        budget=budget,
        keeps_budget=keeps_budget,
        performer=PERFORMER,
        num_workers=num_workers,
        storage=search.storage,
        name=name_of(search, folder),
        earlier=earlier_trials(search.warm_start, plan),
        recipe=dump(written),
    )
    return Prepared(written, study, _told(plan, search, budget), (*rows.splits.notes, *_afterwards(search)))


def _settled(recipe: Recipe) -> Recipe:
    """With a section `search`, and shares that are cut alike whatever a run's seed."""
    changes: dict[str, Any] = {} if recipe.search is not None else {"search": {}}
    if recipe.data.cut_seed is None:
        changes["data.cut_seed"] = recipe.training.seed
    return recipe.changed(changes, where="search") if changes else recipe


def _section(recipe: Recipe) -> Search:
    assert recipe.search is not None
    return recipe.search


@dataclass(frozen=True)
class _FullRun:
    """What a run of the recipe comes to."""

    amounts: Mapping[Unit, float]
    """How much of what a budget may be in it takes; empty where the budget asks for none of it."""
    space: dict[str, Any]
    """What `auto` stands for; empty where a space is said."""


def _looked_at(recipe: Recipe, search: Search, subject: Subject) -> tuple[Space, _FullRun]:
    """The space, and what a full run takes; a model without weights is made only where one of them must be known."""
    unit = search.spending.unit
    if search.said_space is not None and unit in ("runs", "seconds"):
        return search.said_space, _FullRun({}, {})
    with ready(subject.of(training={"learning_rate": "auto"})) as made:
        advised, resolved = made.recipe.training.learning_rate, made.recipe
        assert isinstance(advised, float)
        amounts = _amounts(subject, resolved, unit)
    if search.said_space is not None:
        return search.said_space, _FullRun(amounts, {})
    training = resolved.training.model_copy(update={"learning_rate": recipe.training.learning_rate})
    said = auto_space(resolved.method, training, advised=advised)
    return Space.of(said), _FullRun(amounts, said)


def _amounts(subject: Subject, resolved: Recipe, unit: Unit) -> dict[Unit, float]:
    num_rows = subject.num_rows or 0
    steps = float(num_steps(resolved, num_rows) or 1)
    epochs = float(resolved.training.about_epochs(num_rows))
    found: dict[Unit, float] = {"steps": steps, "epochs": epochs}
    if unit == "tokens":
        rows = resolved.task.prepare(subject.rows.splits.train, subject.processor, training=True)
        found["tokens"] = epochs * sum(rows["length"][:])
    return found


def _budget(search: Search, amounts: Mapping[Unit, float], num_workers: int) -> Budget:
    """In units; seconds are turned into them when a trial was measured.

    Raises RecipeError where it pays for nothing.
    """
    spending = search.spending
    if spending.seconds is not None:
        return Budget(seconds=spending.seconds, num_workers=num_workers)
    units = spending.units(search.horizon, amounts)
    if units < 1:
        raise RecipeError(f"search.budget: {spending} are less than {1 / search.horizon:.2g} of a run, the first rung")
    return Budget(units, num_workers=num_workers)


def _fingerprints(recipe: Recipe, rows: Rows) -> Iterator[tuple[str, str]]:
    """What must be the same for scores to be comparable: settings by key path, rows and weights by their content."""
    around = environment(recipe.changed({"training.device": rows.device}, where="search"), rows.splits)
    for name, digest in around["data_sha256"].items():
        yield f"{name} rows", digest
    weights = around["model_sha256"]
    for name, digest in (weights or {}).items():
        yield f"weights {name}", digest
    for path, value in _flat(recipe.model_dump(mode="json", exclude=APART)):
        if path not in FREE and not (path == "model.name" and weights):
            yield path, json.dumps(value)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _told(plan: Plan, search: Search, budget: Budget) -> str:
    paths = dict.fromkeys(parameter.path for parameter in plan.space.parameters)
    how = f"{plan.sampler.kind()}, {plan.scheduler.kind()}"
    if "auto" in (plan.sampler.kind(), plan.scheduler.kind()):
        how = "auto: chosen when the first rung was timed"
        if budget.units is not None:
            terms = plan.terms(budget.units)
            settled = settle(plan.sampler, plan.scheduler, plan.space, terms)
            how = f"auto: {', '.join(each.kind() for each in settled)}, as {choose(plan.space, terms).because}"
    goals = " and ".join(goal.name for goal in plan.goals)
    return f"{', '.join(paths)} for {goals}, within {search.spending} ({how})"


def _afterwards(search: Search) -> list[str]:
    """What comes on top of the budget."""
    if not search.replicates:
        return []
    num_runs = 2 * search.replicates
    return [f"afterwards {num_runs} full runs hold the winner against the recipe as it stands (search.replicates)"]
