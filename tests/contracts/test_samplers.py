"""What every sampler does: a whole setting of the space from any history, the same one again from the same history."""

import json
from dataclasses import asdict, replace
from statistics import median
from typing import Any

import pytest

from luthier.searching.samplers import Sampler
from luthier.searching.samplers.random import Random
from luthier.trials.history import History, Rung, Terms, Trial, Values
from luthier.trials.space import Space
from tests.contracts.kinds import all_of, kind_of

every_sampler = pytest.mark.parametrize("sampler", all_of("samplers"), ids=kind_of)

FLAT = Space.of({"rate": {"log": [1e-5, 1e-2]}, "warmup": {"uniform": [0, 0.3]}, "blocks": {"int": [1, 6]}})
TREE = Space.of(
    {
        "method": {
            "choice": [
                {"kind": "lora", "rank": {"choice": [4, 8, 16, 32]}, "with": {"rate": {"log": [1e-5, 1e-2]}}},
                {"kind": "partial", "blocks": {"int": [1, 6]}},
                {"kind": "full"},
            ]
        },
        "warmup": {"uniform": [0, 0.3]},
    }
)
TERMS = Terms(horizon=9, eta=3, units=180)
every_space = pytest.mark.parametrize("space", [FLAT, TREE], ids=["flat", "tree"])


def units(*points: float, space: Space = FLAT) -> Values:
    return space.values([*points, *[0.5] * (len(space.parameters) - len(points))])


def score(space: Space, values: Values) -> float:
    return sum((unit - 0.3) ** 2 for unit in space.units(values))


def past(space: Space, num: int, *, num_objectives: int = 1, excess: tuple[float, ...] = ()) -> History:
    """Trials that differ: whole, paused, failed, the last one running, and the recipe's own outside the space."""
    trials = []
    for number in range(num):
        point = [((number + 1) * (axis + 2) * 0.618034) % 1 for axis in range(len(space.parameters))]
        values = {} if number == 0 else space.values(point)
        at_end = score(space, values)
        rungs = [
            Rung(resource, (at_end + 1 / resource,) * num_objectives, 1.0 * resource, excess) for resource in (1, 3, 9)
        ]
        state, num_rungs = [("done", 3), ("paused", 1), ("paused", 2), ("failed", 0), ("failed", 1), ("done", 3)][
            number % 6
        ]
        if number == num - 1:
            state, num_rungs = "running", 0
        target = rungs[max(0, num_rungs - 1)].resource
        trials.append(Trial(number, values, state, target, rungs=tuple(rungs[:num_rungs])))  # type: ignore[arg-type]
    return History(tuple(trials))


def again(history: History) -> History:
    """A history as it comes back from JSON."""

    def trial(read: dict[str, Any]) -> Trial:
        rungs = [{**rung, "values": tuple(rung["values"]), "excess": tuple(rung["excess"])} for rung in read["rungs"]]
        return Trial(**{**read, "rungs": tuple(Rung(**rung) for rung in rungs)})

    read = json.loads(json.dumps(asdict(history), allow_nan=False))
    return History(tuple(map(trial, read["trials"])), tuple(map(trial, read["earlier"])))


def assert_in(space: Space, values: Values | None) -> None:
    assert values is not None
    assert space.is_whole(values)
    assert set(values) == {parameter.name for parameter in space.active(values)}
    for name, value in values.items():
        domain = space.by_name[name].domain
        assert domain.value_of(domain.setting(value)) == value
    json.dumps(dict(values), allow_nan=False)


@every_sampler
@every_space
@pytest.mark.parametrize("num", [0, 1, 5, 40])
def test_a_suggestion_is_a_whole_setting_of_the_space(sampler: Sampler, space: Space, num: int) -> None:
    assert_in(space, sampler.resolved(space, TERMS).suggest(space, past(space, num), seed=7))


@every_sampler
@every_space
@pytest.mark.parametrize("num", [1, 40])
def test_the_same_history_and_seed_give_the_same_suggestion(sampler: Sampler, space: Space, num: int) -> None:
    sampler, history = sampler.resolved(space, TERMS), past(space, num)
    assert sampler.suggest(space, history, seed=3) == sampler.suggest(space, again(history), seed=3)


@every_sampler
def test_no_setting_is_suggested_twice(sampler: Sampler) -> None:
    space = Space.of({"a": {"choice": ["x", "y"]}, "b": {"int": [1, 3]}})
    sampler, history = sampler.resolved(space, TERMS), History()
    seen = []
    while (values := sampler.suggest(space, history, seed=len(history.trials))) is not None:
        seen.append(tuple(sorted(values.items())))
        rung = Rung(1, (float(len(seen)),), 1.0)
        history = History((*history.trials, Trial(len(seen) - 1, values, "done", 1, rungs=(rung,))))
        assert len(seen) <= 6
    assert len(set(seen)) == 6


HALF_FINITE = Space.of({"method": {"choice": ["full", {"kind": "lora", "with": {"rate": {"log": [1e-5, 1e-2]}}}]}})


@every_sampler
@pytest.mark.parametrize("num_objectives", [1, 2])
def test_a_search_goes_on_where_a_setting_that_is_the_only_one_of_its_kind_is_the_best(
    sampler: Sampler, num_objectives: int
) -> None:
    """A range under the other option has settings without end."""
    terms = replace(TERMS, num_objectives=num_objectives)
    values: list[Values] = [{"method": "full"}]
    values += [HALF_FINITE.values([0.9, (number * 0.618034) % 1]) for number in range(1, 14)]
    trials = tuple(
        Trial(
            number, each, "done", 9, rungs=(Rung(9, (6.0 + number % 4 / 4 if number else 0.0,) * num_objectives, 9.0),)
        )
        for number, each in enumerate(values)
    )
    for seed in range(3):
        assert_in(HALF_FINITE, sampler.resolved(HALF_FINITE, terms).suggest(HALF_FINITE, History(trials), seed=seed))


every_learner = pytest.mark.parametrize(
    "sampler", [each for each in all_of("samplers") if each.learns and each.kind() != "auto"], ids=kind_of
)


def search(sampler: Sampler, *, seed: int, num: int = 40, earlier: tuple[Trial, ...] = ()) -> list[float]:
    """What full runs score, one after the other."""
    history = History(earlier=earlier)
    for number in range(num):
        values = sampler.suggest(FLAT, history, seed=1000 * (seed + 1) + number)
        assert values is not None
        rung = Rung(9, (score(FLAT, values),), 9.0)
        history = History((*history.trials, Trial(number, values, "done", 9, rungs=(rung,))), earlier)
    return [trial.rungs[0].values[0] for trial in history.trials]


@every_learner
def test_whoever_learns_ends_nearer_than_chance(sampler: Sampler) -> None:
    chance = median(min(search(Random(), seed=seed)) for seed in range(9))
    assert median(min(search(sampler, seed=seed, num=30)) for seed in range(3)) < chance


@every_learner
def test_an_earlier_search_helps(sampler: Sampler) -> None:
    earlier = [
        Trial(number, values, "done", 9, rungs=(Rung(9, (score(FLAT, values),), 9.0),))
        for number in range(40)
        if (values := FLAT.values([(0.1 + number * 0.618034) % 1, (number * 0.414214) % 1, (number * 0.73205) % 1]))
    ]
    chance = median(min(search(Random(), seed=seed, num=4)) for seed in range(9))
    warm = median(min(search(sampler, seed=seed, num=4, earlier=tuple(earlier))) for seed in range(5))
    assert warm < 0.5 * chance


@every_learner
@pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning")  # Optuna's
def test_constraints_and_several_objectives_are_taken(sampler: Sampler) -> None:
    for num_objectives, excess in ((1, (0.5, -0.5)), (1, (-1.0, -1.0)), (2, (0.5, -0.5))):
        history = past(FLAT, 14, num_objectives=num_objectives, excess=excess)
        assert_in(FLAT, sampler.suggest(FLAT, history, seed=1))


@every_learner
@pytest.mark.parametrize("num", [0, 1, 2])
def test_earlier_trials_with_other_constraints_are_taken(sampler: Sampler, num: int) -> None:
    earlier = past(FLAT, 14, excess=(0.5,) * num).trials
    history = replace(past(FLAT, 14, excess=(-0.5,)), earlier=earlier)
    assert_in(FLAT, sampler.suggest(FLAT, history, seed=1))


def num_beyond(sampler: Sampler, *, broken: bool) -> int:
    """Of 20 suggestions how many lie in the better half of a range, where a constraint breaks or nothing is scored."""
    trials = []
    for number in range(30):
        point = [(number * step + 0.1) % 1 for step in (0.618034, 0.414214, 0.73205)]
        is_beyond = point[0] > 0.5
        score = float("nan") if is_beyond and not broken else -point[0]
        excess = (point[0] - 0.5,) if broken else ()
        trials.append(Trial(number, FLAT.values(point), "done", 9, rungs=(Rung(9, (score,), 9.0, excess),)))
    found = [sampler.suggest(FLAT, History(tuple(trials)), seed=seed) for seed in range(1000, 1020)]
    return sum(FLAT.units(values)[0] > 0.5 for values in found if values is not None)


@every_learner
@pytest.mark.parametrize("broken", [True, False], ids=["constraint", "no-number"])
def test_where_a_constraint_breaks_or_no_score_is_a_number_few_trials_go(sampler: Sampler, broken: bool) -> None:
    """At random half of them would."""
    assert num_beyond(sampler, broken=broken) <= 6


@every_learner
def test_scores_that_are_no_numbers_are_taken(sampler: Sampler) -> None:
    fine = past(FLAT, 30)
    trials = [
        replace(trial, rungs=(replace(trial.rungs[0], values=(float("nan"),)),))
        if trial.rungs and trial.number % 2
        else trial
        for trial in fine.trials
    ]
    assert_in(FLAT, sampler.suggest(FLAT, History(tuple(trials)), seed=1))
    broken = [replace(trial, state="failed", rungs=()) for trial in fine.trials]
    assert_in(FLAT, sampler.suggest(FLAT, History(tuple(broken)), seed=1))
