"""A place between 0 and 1 becomes a value of the domain and, where the domain is a range, comes back as it was."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from luthier.trials.domains import Choice, Domain, Log, SaidDomain, Uniform, Whole

READ: TypeAdapter[Domain] = TypeAdapter(SaidDomain)


@pytest.mark.parametrize(
    ("said", "kind"),
    [({"choice": [1]}, Choice), ({"log": [1, 2]}, Log), ({"uniform": [0, 1]}, Uniform), ({"int": [0, 1]}, Whole)],
)
def test_a_domain_is_what_it_says(said: dict[str, Any], kind: type[Domain]) -> None:
    assert isinstance(READ.validate_python(said), kind)


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        (Uniform(uniform=(2.0, 4.0)), [2.0, 2.5, 3.0, 4.0]),
        (Log(log=(1e-6, 1e-2)), [1e-6, 1e-5, 1e-4, 1e-2]),
    ],
    ids=["uniform", "log"],
)
def test_a_range_is_cut_evenly_in_its_own_measure(domain: Domain, values: list[float]) -> None:
    places = [0.0, 0.25, 0.5, 1.0]
    assert [domain.value(place) for place in places] == pytest.approx(values)
    assert [domain.unit(value) for value in values] == pytest.approx(places)
    assert all(domain.holds(domain.value(place)) for place in places)


def test_the_end_of_a_range_lies_in_it_whatever_its_sum_rounds_to() -> None:
    """0.3 + (0.85 - 0.3) is 0.8500000000000001 in double precision."""
    domain = Uniform(uniform=(0.3, 0.85))
    assert domain.value(1.0) == 0.85
    assert domain.holds(domain.value(1.0))


def test_whole_numbers_and_options_have_equal_pieces_of_the_line() -> None:
    whole, choice = Whole(int=(3, 6)), Choice(choice=("a", "b", "c", "d"))
    assert [whole.value(place) for place in (0.0, 0.249, 0.25, 0.74, 0.75, 1.0)] == [3, 3, 4, 5, 6, 6]
    assert [choice.value(place) for place in (0.0, 0.249, 0.25, 0.74, 0.75, 1.0)] == ["a", "a", "b", "c", "d", "d"]
    assert [whole.unit(value) for value in (3, 4, 5, 6)] == [choice.unit(label) for label in "abcd"]
    assert whole.num_levels == choice.num_levels == 4


def test_what_lies_outside_a_range_is_none_of_its_values_and_stands_at_its_end() -> None:
    rate = Log(log=(1e-5, 1e-3))
    assert rate.value_of(1e-4) == 1e-4
    assert rate.value_of(2e-3) is rate.value_of("auto") is rate.value_of(True) is rate.value_of(0.0) is None
    assert (rate.unit(2e-3), rate.unit(0.0)) == (1.0, 0.0)
    assert not rate.holds(2e-3)
    assert Whole(int=(1, 3)).value_of(2.0) is None


def test_options_are_told_apart_as_yaml_tells_them() -> None:
    flags = Choice(choice=(True, None, 1.5, ("attention", "mlp")))
    assert flags.labels == ("true", "null", "1.5", "attention+mlp")
    assert [flags.setting(label) for label in flags.labels] == list(flags.choice)
    assert flags.value_of(["attention", "mlp"]) == "attention+mlp"
    assert flags.value_of(1) is None  # true is no number
    assert not flags.is_ordered
    assert Choice(choice=(4, 8.0)).is_ordered


def test_only_numbers_that_rise_or_fall_are_neighbours() -> None:
    assert Choice(choice=(1, 2, 5)).is_ordered
    assert Choice(choice=(5, 2.5, 1)).is_ordered
    assert Choice(choice=(3,)).is_ordered
    assert not Choice(choice=(1, 5, 2)).is_ordered


def test_components_of_one_kind_are_numbered() -> None:
    options = ({"kind": "lora"}, {"kind": "adapter"}, {"kind": "lora", "dora": True})
    assert Choice(choice=options).labels == ("lora-1", "adapter", "lora-3")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"log": [1e-3, 1e-5]}, "0.001 is not below 1e-05"),
        ({"log": [0, 1]}, "greater than 0"),
        ({"int": [2, 2]}, "2 is not below 2"),
        ({"int": [1.5, 3]}, "valid integer"),
        ({"uniform": [0, float("nan")]}, "finite number"),
        ({"choice": []}, "at least 1 item"),
        ({"choice": [1, 1]}, "two options are alike: 1, 1"),
        ({"normal": [0, 1]}, r"say \{choice"),
        (5, r"say \{choice"),
    ],
    ids=str,
)
def test_what_is_no_domain_is_refused(said: Any, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        READ.validate_python(said)
