"""What every component is: settings that can be written, read, checked and explained, and that never change."""

import json
import re
import sys
from typing import Annotated, Any

import pytest
from pydantic import ValidationError, create_model
from ruamel.yaml import YAML

from luthier.component import Component, Slot, find, groups_of
from luthier.evaluation.metrics import Metric
from luthier.merging.methods import Merge
from luthier.methods import Method
from luthier.recipe import dump
from luthier.searching.samplers import Sampler
from luthier.searching.schedulers import Scheduler
from luthier.tasks import Task
from luthier.training.optimizers import Optimizer
from luthier.training.schedules import Schedule
from tests.contracts.kinds import KINDS, make

CONTRACTS = {
    "methods": Method,
    "tasks": Task,
    "metrics": Metric,
    "optimizers": Optimizer,
    "schedules": Schedule,
    "merges": Merge,
    "samplers": Sampler,
    "schedulers": Scheduler,
}
SOURCE = re.compile(r"https?://|\b1[89]\d\d\b|\b20\d\d\b")
DEFINED_HERE = {
    "accuracy",
    "loss",
    "mse",
    "token-accuracy",
    "constant",
    "text-classification",
    "auto",
    "full",
    "grid",
    "random",
}
"""Kinds that are a definition rather than somebody's finding."""

every_kind = pytest.mark.parametrize(("group", "kind"), KINDS)


def holder(group: str) -> type[Component]:
    """A recipe with one field, which holds a component of the group."""
    return create_model("Holder", __base__=Component, held=(Annotated[CONTRACTS[group], Slot(group)], ...))  # type: ignore[call-overload,no-any-return]


def written(group: str, component: Component) -> str:
    return dump(holder(group)(held=component))  # type: ignore[arg-type]


def read(group: str, text: str) -> Any:
    return holder(group).model_validate(YAML().load(text)).held  # type: ignore[attr-defined]


@every_kind
def test_a_kind_holds_to_its_groups_contract(group: str, kind: str) -> None:
    assert issubclass(find(group, kind), CONTRACTS[group])
    assert find(group, kind).kind() == kind
    assert group in groups_of(kind)


@every_kind
def test_what_a_recipe_says_is_what_is_read_back(group: str, kind: str) -> None:
    component = make(group, kind)
    assert read(group, written(group, component)) == component


@every_kind
def test_a_recipe_says_the_kind_first_and_then_every_setting(group: str, kind: str) -> None:
    said = YAML().load(written(group, make(group, kind)))["held"]
    assert list(said) == ["kind", *find(group, kind).model_fields]
    assert said["kind"] == kind


@every_kind
def test_an_unknown_setting_is_refused(group: str, kind: str) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        holder(group).model_validate({"held": {"kind": kind, "no_such_setting": 1}})


@every_kind
def test_every_setting_says_what_it_means(group: str, kind: str) -> None:
    unexplained = [name for name, field in find(group, kind).model_fields.items() if not field.description]
    assert unexplained == []


@every_kind
def test_a_kind_says_what_it_is(group: str, kind: str) -> None:
    assert find(group, kind).__doc__ not in (None, CONTRACTS[group].__doc__)


@every_kind
def test_a_kind_names_its_source(group: str, kind: str) -> None:
    about = sys.modules[find(group, kind).__module__].__doc__
    assert about is not None
    assert kind in DEFINED_HERE or SOURCE.search(about)


@every_kind
def test_a_settings_schema_names_and_explains_it(group: str, kind: str) -> None:
    schema = find(group, kind).model_json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert all("description" in setting for setting in schema.get("properties", {}).values())
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("group", CONTRACTS)
def test_a_groups_schema_offers_every_kind(group: str) -> None:
    offered = holder(group).model_json_schema()["properties"]["held"]["anyOf"]
    choices = [choice for choice in offered if "properties" in choice]
    assert [choice["properties"]["kind"]["const"] for choice in choices] == [k for g, k in KINDS if g == group]
    assert {choice["const"] for choice in offered if "const" in choice} <= {k for g, k in KINDS if g == group}
    assert all("kind" in choice["required"] for choice in choices)


@every_kind
def test_a_component_never_changes_and_can_be_a_key(group: str, kind: str) -> None:
    component = make(group, kind)
    assert {component: 1}[make(group, kind)] == 1
    for name in type(component).model_fields:
        with pytest.raises(ValidationError, match="frozen_instance"):
            setattr(component, name, getattr(component, name))
