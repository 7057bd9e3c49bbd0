"""What README promises is there: its commands parse, its Python names exist, its messages are what users get."""

import re
from pathlib import Path

import pytest

import luthier
from luthier.cli import app
from luthier.errors import RecipeError
from luthier.recipe import parse

TESTS = Path(__file__).parent
README = Path("README.md").read_text()


def test_every_command_of_the_readme_is_there() -> None:
    commands = set(re.findall(r"^luthier (\w+)", README, flags=re.MULTILINE))
    known = {command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {str(group.name or group.typer_instance.info.name) for group in app.registered_groups}
    assert commands
    assert commands <= known


def test_every_python_name_of_the_readme_is_there() -> None:
    names = set(re.findall(r"luthier\.(\w+)\(", README))
    assert names
    assert names <= set(luthier.__all__)


def test_the_mistakes_of_the_readme_are_told_as_it_says() -> None:
    lines = re.findall(r"^recipe\.yaml:\d+: .*$", README, flags=re.MULTILINE)
    assert len(lines) == 3
    text = (
        "model: m\ntask: text-classification\ndata:\n  validaton: 0.1\n  train: a.csv\n"
        "method:\n  kind: lora\n  rank: 4\n  rnk: 3\n  lora_alpha: 4\n"
    )
    with pytest.raises(RecipeError) as told:
        parse(text, source="recipe.yaml")
    assert str(told.value).splitlines() == lines


def test_every_promise_names_a_test_that_is_there() -> None:
    _, _, section = README.partition("## What happens when")
    promises = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]
    named = [re.search(r"`(test_\w+)` \|$", line) for line in promises]
    sources = [path.read_text() for path in TESTS.rglob("test_*.py")]
    written = {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)}
    assert len(promises) >= 20
    assert all(name is not None and name[1] in written for name in named)
