"""The model card of a merge: valid, complete, and without a path of this machine."""

import re
from pathlib import Path

import yaml

from luthier.merging.beside.card import merge_card, shown


def card(tmp_path: Path, **changes: object) -> str:
    base, a = str(tmp_path / "base"), str(tmp_path / "a")
    recipe = {
        "merge_method": "ties",
        "base_model": base,
        "models": [{"model": a, "parameters": {"weight": 0.5}}, {"model": f"org/b+{tmp_path}/lora"}],
        "chat_template": "{% if x %}/{% endif %}",
        "output": f"{tmp_path}/out",
        "by_model": {a: 1},
    }
    how = {"kind": "ties", "models": [a, f"org/b+{tmp_path}/lora"], "base": base, "recipe": recipe, **changes}
    return merge_card("my_merge", **how)  # type: ignore[arg-type]


def front(text: str) -> dict[str, object]:
    return yaml.safe_load(text.split("---\n")[1])  # YAML 1.1, as on the hub


def test_the_front_is_what_the_hub_reads(tmp_path: Path) -> None:
    assert front(card(tmp_path)) == {
        "library_name": "transformers",
        "tags": ["merge", "luthier"],
        "base_model": ["base", "a", "org/b", "lora"],
    }


def test_no_path_of_this_machine_is_told(tmp_path: Path) -> None:
    text = card(tmp_path, notes=[f"{tmp_path}/a: 80 rows become 64"])
    assert str(tmp_path) not in text
    assert "a: 80 rows become 64" in text
    assert shown(f"{tmp_path}/a+{tmp_path}/b") == "a+b"


def test_the_recipe_is_yaml_that_can_be_read_again(tmp_path: Path) -> None:
    found = re.search(r"```yaml\n(.*?)```", card(tmp_path), re.DOTALL)
    assert found
    assert yaml.safe_load(found[1]) == {
        "merge_method": "ties",
        "base_model": "base",
        "models": [{"model": "a", "parameters": {"weight": 0.5}}, {"model": "org/b+lora"}],
        "chat_template": "{% if x %}/{% endif %}",
        "output": "out",
        "by_model": {"a": 1},
    }


def test_text_cannot_break_out_of_its_place(tmp_path: Path) -> None:
    text = card(tmp_path, recipe={"chat_template": "```\n# Not a title"}, models=["no", "1e5"], base=None)
    assert front(text)["base_model"] == ["no", "1e5"]
    assert "````yaml" in text
    assert "# my\\_merge" in text
