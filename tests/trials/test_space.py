"""A space has a place in the unit cube for every setting, and what lies below an option applies only under it."""

import random
from collections.abc import Mapping
from typing import Any

import pytest

from luthier.trials.domains import Choice, Log, Whole
from luthier.trials.history import Value
from luthier.trials.space import Space

METHODS = Space.of(
    {
        "training.batch_size": {"choice": [16, 32]},
        "method": {
            "choice": [
                {
                    "kind": "lora",
                    "bias": "all",
                    "rank": {"choice": [4, 8, 16]},
                    "with": {"training.learning_rate": {"log": [2e-5, 2e-3]}, "training.schedule.warmup": 0.1},
                },
                {"kind": "adapter", "reduction": {"int": [2, 5]}},
                "full",
            ]
        },
    }
)
RANK, RATE, REDUCTION = (
    "method=lora:method.rank",
    "method=lora:training.learning_rate",
    "method=adapter:method.reduction",
)


def test_parameters_below_an_option_are_called_after_it() -> None:
    assert list(METHODS.by_name) == ["training.batch_size", "method", RANK, RATE, REDUCTION]
    assert METHODS.by_name[RATE].path == "training.learning_rate"
    assert METHODS.by_name[RATE].under == (("method", "lora"),)


def test_only_what_applies_has_a_value() -> None:
    assert METHODS.values([0.0, 0.0, 0.99, 0.5, 0.9]) == {
        "training.batch_size": "16",
        "method": "lora",
        RANK: "16",
        RATE: pytest.approx(2e-4),
    }
    assert METHODS.values([0.9, 0.99, 0.9, 0.9, 0.9]) == {"training.batch_size": "32", "method": "full"}


def test_a_trial_sets_the_option_what_goes_with_it_and_what_is_searched_below_it() -> None:
    values: dict[str, Value] = {"training.batch_size": "32", "method": "lora", RANK: "4", RATE: 1e-4}
    assert METHODS.settings(values) == {
        "training.batch_size": 32,
        "method": {"kind": "lora", "bias": "all"},
        "training.schedule.warmup": 0.1,
        "method.rank": 4,
        "training.learning_rate": 1e-4,
    }
    assert METHODS.settings({"method": "full"}) == {"method": "full"}


def test_a_domain_deep_inside_an_option_is_found() -> None:
    space = Space.of({"method": {"choice": [{"kind": "lora", "ranks": {"attention": {"choice": [4, 8]}}}, "full"]}})
    assert space.parameters[1].path == "method.ranks.attention"
    values = {"method": "lora", "method=lora:method.ranks.attention": "8"}
    assert space.settings(values) == {"method": {"kind": "lora", "ranks": {}}, "method.ranks.attention": 8}


def test_values_come_back_from_their_place_in_the_cube() -> None:
    random.seed(0)
    for _ in range(50):
        values = METHODS.values([random.random() for _ in METHODS.parameters])
        again = METHODS.values(METHODS.units(values))
        assert again == {name: pytest.approx(v) if isinstance(v, float) else v for name, v in values.items()}
        assert METHODS.is_whole(values)


def test_a_trial_that_lacks_a_value_or_has_one_from_outside_is_not_whole() -> None:
    assert METHODS.is_whole({"training.batch_size": "16", "method": "full"})
    assert not METHODS.is_whole({"training.batch_size": "16", "method": "lora", RATE: 1e-4})
    assert not METHODS.is_whole({"training.batch_size": "64", "method": "full"})
    assert not METHODS.is_whole({})


def test_the_grid_has_every_setting_once() -> None:
    space = Space.of({"a": {"choice": ["x", {"kind": "y", "b": {"int": [1, 3]}}]}, "c": {"choice": [True, False]}})
    found = [tuple(values.values()) for values in space.grid()]
    assert sorted(found, key=str) == sorted(
        [("x", "true"), ("x", "false"), *(("y", number, flag) for number in (1, 2, 3) for flag in ("true", "false"))],
        key=str,
    )
    assert space.num_settings == len(found) == (1 + 3) * 2
    assert METHODS.num_settings is None
    assert len(list(METHODS.grid())) == 2 * (3 + 4 + 1)


def test_a_grid_of_few_levels_takes_them_evenly_from_whole_numbers_too() -> None:
    assert len(list(METHODS.grid(num_of_ranges=2))) == 2 * (3 * 2 + 2 + 1)
    space = Space.of({"a": {"int": [1, 9]}, "b": {"int": [1, 2]}})
    assert [tuple(values.values()) for values in space.grid(num_of_ranges=3)] == [
        (number, other) for number in (2, 5, 8) for other in (1, 2)
    ]


def test_a_large_grid_is_counted_without_being_gone_through() -> None:
    assert Space.of({f"a.b{i}": {"int": [1, 1000]} for i in range(20)}).num_settings == 1000**20


def test_domains_may_be_said_or_be_there_already() -> None:
    domains = {"a.b": Choice(choice=(1, 2)), "a.c": Whole(int=(1, 2)), "a.d": Log(log=(1, 2))}
    assert Space.of(domains) == Space.of({path: domain.model_dump() for path, domain in domains.items()})


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            {"a": {"choice": [{"kind": "x", "with": {"b": {"int": [1, 2]}}}]}, "b": {"int": [1, 2]}},
            "b is set twice in one trial",
        ),
        ({"a": {"choice": [{"kind": "x", "with": {"b": 1}}]}, "b": {"int": [1, 2]}}, "b is set twice in one trial"),
        ({"a": {"choice": ["x", "y"]}, "a.b": {"int": [1, 2]}}, "a.b is set twice in one trial: a sets it too"),
    ],
    ids=["searched-below-an-option", "fixed-below-an-option", "part-of-a-choice"],
)
def test_no_setting_is_searched_twice(said: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Space.of(said)


def test_two_options_may_search_one_setting_each_in_its_own_range() -> None:
    rates = [{"kind": kind, "with": {"rate": {"log": ends}}} for kind, ends in (("x", [1, 2]), ("y", [3, 4]))]
    space = Space.of({"a": {"choice": rates}})
    assert space.settings(space.values([0.9, 0.0, 0.0])) == {"a": {"kind": "y"}, "rate": pytest.approx(3)}


def changed(recipe: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe of two levels after changes by key path; another component has all its own settings."""
    found = {name: dict(part) if isinstance(part, dict) else part for name, part in recipe.items()}
    for path, setting in sorted(changes.items(), key=lambda change: change[0].count(".")):
        part, _, name = path.partition(".")
        if name:
            found[part][name] = setting
        else:
            found[part] = {"rank": 16, **setting} if isinstance(setting, dict) else {"kind": setting, "rank": 16}
    return found


def test_a_recipe_as_it_stands_has_the_values_of_its_own_settings() -> None:
    space = Space.of(
        {
            "method": {"choice": [{"kind": "lora", "rank": {"int": [4, 32]}, "with": {"t.decay": 0.1}}, "full"]},
            "t.rate": {"log": [1e-5, 1e-3]},
        }
    )
    recipe = {"method": {"kind": "lora", "rank": 8}, "t": {"rate": 1e-4, "decay": 0.1}}

    def standing(recipe: dict[str, Any]) -> Any:
        return space.standing(recipe, lambda changes: changed(recipe, changes))

    assert standing(recipe) == {"method": "lora", "method=lora:method.rank": 8, "t.rate": 1e-4}
    assert standing({**recipe, "t": {"rate": "auto", "decay": 0.1}}) == {"method": "lora", "method=lora:method.rank": 8}
    assert standing({**recipe, "t": {"rate": 1e-4, "decay": 0.0}}) == {"t.rate": 1e-4}  # no option has this decay
    assert standing({**recipe, "method": {"kind": "full", "rank": 16}}) == {"method": "full", "t.rate": 1e-4}
    assert not space.is_whole(standing({**recipe, "t": {"rate": "auto", "decay": 0.1}}))


def test_an_option_that_would_change_the_recipe_is_not_its_own() -> None:
    space = Space.of({"method": {"choice": [{"kind": "lora"}, "full"]}})
    recipe = {"method": {"kind": "lora", "rank": 64}}
    assert space.standing(recipe, lambda changes: changed(recipe, changes)) == {}
    ranks = Space.of({"method": {"choice": [{"kind": "lora", "rank": {"choice": [8, 16]}}, "full"]}})
    assert ranks.standing(recipe, lambda changes: changed(recipe, changes)) == {}  # none of them is 64
    known = space.standing(recipe, lambda changes: changed(recipe, changes), {"method": "lora"})
    assert known == {"method": "lora"}


def test_probes_try_each_option_and_both_ends_alone() -> None:
    space = Space.of({"a": {"choice": [{"kind": "x", "b": {"int": [1, 9]}}, "y"]}})
    assert [values for _, values in space.probes()] == [
        {"a": "x"},
        {"a": "y"},
        {"a": "x", "a=x:a.b": 1},
        {"a": "x", "a=x:a.b": 9},
    ]
