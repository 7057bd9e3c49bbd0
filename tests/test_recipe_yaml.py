"""A recipe's YAML holds no bomb, runs no code, and is read back as it was written."""

import json
from pathlib import Path

import pytest

from luthier.errors import RecipeError
from luthier.recipe import parse
from luthier.recipe_yaml import MAX_BYTES, MAX_DEPTH, dump, load

LEAST = "model: {name: some/model}\ndata: {train: a.csv}\ntask: text-classification\n"


def refusal(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parse(text, source="r.yaml")
    (line,) = str(caught.value).splitlines()
    return line


def test_a_bomb_of_aliases_is_refused_at_its_first_anchor() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert refusal(LEAST + "\n".join(lines)) == (
        "r.yaml:4: &a0 is an anchor, which recipes do not have; write the value out where it is needed"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("method: &m lora\n", "r.yaml:4: &m is an anchor"),
        ("method: *m\n", "r.yaml:4: *m is an alias"),
        ("training: {<<: *base}\n", "r.yaml:4: *base is an alias"),
        ("output: !!python/object/apply:os.system ['x']\n", "r.yaml:4: !... is a tag"),
        ("output: !!str 5\n", "r.yaml:4: !... is a tag"),
        ("output: !env HF_TOKEN\n", "r.yaml:4: !... is a tag"),
        ("output: " + "[" * 100_000 + "\n", f"r.yaml:4: is nested more than {MAX_DEPTH} deep"),
        ("output: 2024-99-99\n", "r.yaml: is no YAML"),
        ("# " + "x" * MAX_BYTES, f"r.yaml: is over {MAX_BYTES:,} bytes"),
        ("--- \nmodel: x\n", "r.yaml:"),
    ],
)
def test_what_a_recipe_does_not_need_is_refused(text: str, told: str) -> None:
    assert refusal(LEAST + text).startswith(told)


def test_an_override_is_read_as_carefully_as_a_file() -> None:
    with pytest.raises(RecipeError, match="is a tag"):
        parse(LEAST, ["output=!!python/object/apply:os.system ['x']"])


def test_a_list_that_stands_twice_is_written_out_twice() -> None:
    twice = ["a", "b"]
    text = dump({"one": twice, "two": twice})
    assert json.dumps(load(text, "r")) == '{"one": ["a", "b"], "two": ["a", "b"]}'


def test_a_recipe_that_could_not_be_read_back_is_not_written() -> None:
    with pytest.raises(RecipeError, match="every label written out"):
        dump({"labels": ["x" * 100] * (MAX_BYTES // 100)})


def test_a_file_that_is_too_long_is_told_with_its_name(tmp_path: Path) -> None:
    from luthier.recipe import read

    path = tmp_path / "long.yaml"
    path.write_text("# " + "x" * MAX_BYTES)
    with pytest.raises(RecipeError, match=r"^long\.yaml: is over"):
        read(path)
