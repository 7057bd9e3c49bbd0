"""What every sampler does: a whole setting of the space from any history, the same one again from the same history."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from luthier.searching.samplers import Sampler
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
