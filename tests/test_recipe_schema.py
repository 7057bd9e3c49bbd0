"""The schema takes every recipe that Luthier takes, and refuses the mistakes that an editor should underline."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from luthier.component import GROUPS, find, names
from luthier.errors import RecipeError
from luthier.recipe import dump, parse
from luthier.recipe_schema import schema
from luthier.report.template import template

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))
LEAST: dict[str, Any] = {"model": "m", "data": "a.csv", "task": "text-classification"}
SCHEMA = schema()
ELSEWHERE = {"metrics", "merges"}
"""Groups that no run's recipe names: metrics are a task's own choice, and merges have recipes of their own."""
CHECK = jsonschema.Draft202012Validator(SCHEMA)


def takes(recipe: Any) -> bool:
    return bool(CHECK.is_valid(recipe))


def plain(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"].startswith("https://json-schema.org/draft/2020-12/")
    assert SCHEMA["title"] == "Luthier recipe"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_of_ours_is_valid_short_and_written_out(path: Path) -> None:
    text = path.read_text()
    assert takes(plain(text))
    assert takes(plain(dump(parse(text))))


@pytest.mark.parametrize("method", names("methods"))
def test_a_recipe_to_start_from_is_valid(method: str) -> None:
    assert takes(plain(template(model="m", data="d.csv", task=None, method=method)))


SHORT: list[dict[str, Any]] = [
    {},
    {"model": {"name": "m"}, "data": {"train": "a.csv"}, "task": {"kind": "text-classification"}},
    {"method": "lora"},
    {"method": {"kind": "lora", "targets": "all-linear", "rank": 4}},
    {"method": {"kind": "lora", "targets": ["q_proj", "v_proj"]}},
    {"method": {"kind": "partial", "train": "head"}},
    {"training": {"learning_rate": "auto", "optimizer": {"weight_decay": 0.1}, "schedule": "cosine"}},
    {"training": {"learning_rate": 1e-4, "micro_batch_tokens": None}},
    {"task": {"kind": "text-classification", "max_length": "auto", "labels": ["a", "b"]}},
    {"data": {"train": "a.csv", "validation": None, "test": 0.2, "columns": {"text": "body"}}},
    {"search": {}},
    {"search": {"space": "auto", "budget": 20, "sampler": "gp", "scheduler": {"kind": "asha"}}},
    {"search": {"space": {"training.learning_rate": {"log": [1e-5, 1e-3]}, "training.batch_size": {"int": [8, 64]}}}},
    {"search": {"space": {"method": {"choice": [{"kind": "lora", "rank": {"choice": [4, 8]}}, "full"]}}}},
    {"search": {"budget": "30min", "objectives": "accuracy", "constraints": {"memory_gib": 8}}},
]

WRONG: list[dict[str, Any]] = [
    {"otput": "x"},
    {"model": {"nam": "m"}},
    {"model": 5},
    {"data": {"train": "a.csv", "validation": 1.5}},
    {"task": "text-clasification"},
    {"method": "lorra"},
    {"method": {"rank": 4}},
    {"method": {"kind": "lora", "rnak": 4}},
    {"method": {"kind": "lora", "rank": 0}},
    {"method": {"kind": "full", "rank": 4}},
    {"method": {"kind": "lora", "targets": 5}},
    {"training": {"epochs": "lots"}},
    {"training": {"lr": 1e-4}},
    {"training": {"optimizer": "adam"}},
    {"training": {"device": "gpu"}},
    {"training": None},
    {"search": 20},
    {"search": {"budjet": 20}},
    {"search": {"budget": None}},
    {"search": {"space": {"training.learning_rate": {"log": [0, 1]}}}},
    {"search": {"space": {"training.learning_rate": 1e-3}}},
    {"search": {"sampler": "gpp"}},
    {"search": {"scheduler": {"kind": "asha", "budget": 3}}},
]


@pytest.mark.parametrize("said", SHORT, ids=str)
def test_what_luthier_takes_is_valid(said: dict[str, Any]) -> None:
    recipe = LEAST | said
    parse(json.dumps(recipe))
    assert takes(recipe)


@pytest.mark.parametrize("said", WRONG, ids=str)
def test_what_luthier_refuses_is_not_valid(said: dict[str, Any]) -> None:
    recipe = LEAST | said
    with pytest.raises(RecipeError):
        parse(json.dumps(recipe))
    assert not takes(recipe)


def every(part: Any) -> list[dict[str, Any]]:
    """A schema's parts, at any depth."""
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return ([part] if isinstance(part, dict) else []) + [each for value in inner for each in every(value)]


def test_every_setting_has_its_help_as_description() -> None:
    shown = {part.get("description", "") for part in every(SCHEMA)}
    for group in GROUPS.keys() - ELSEWHERE:
        for kind in names(group):
            fields = find(group, kind).model_fields
            assert {field.description for field in fields.values()} <= shown, kind


def test_every_kind_is_an_alternative_and_every_reference_leads_somewhere() -> None:
    consts = {part["const"] for part in every(SCHEMA) if "const" in part}
    for group in GROUPS.keys() - ELSEWHERE:
        assert set(names(group)) <= consts
    references = {part["$ref"] for part in every(SCHEMA) if isinstance(part.get("$ref"), str)}
    assert {name.removeprefix("#/$defs/") for name in references} <= SCHEMA["$defs"].keys()
