"""Every recipe, from its own files: two steps on some of its rows, and what comes out answers (`make recipes`)."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest

import luthier
from luthier import recipe as recipes
from luthier.recipe import Recipe
from tests.runs import tiny_model

pytestmark = pytest.mark.recipes

RECIPES = sorted(Path("recipes").glob("*.yaml"))
NUM_ROWS = {"train": 24, "validation": 8, "test": 8}
SHORT = {
    "text-classification": {"max_length": 32},
    "causal-lm": {"max_length": 384},
    "seq2seq": {"max_source_length": 48, "max_target_length": 16, "generation": {"num_beams": 1, "max_new_tokens": 8}},
    "question-answering": {"max_length": 128, "stride": 32},
    "masked-lm": {"max_length": 48},
}
"""Settings that make a task's rows short."""
CUTS = {"instruct": ["task.drop_cut=true", "task.generation.max_new_tokens=8"]}


def sample(source: str, num_rows: int, folder: Path) -> Path:
    """Rows from all over a file; sounds that they name lie beside them as they do beside the whole."""
    path = Path(source)
    written = folder / path.name
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file, written.open("w", newline="", encoding="utf-8") as kept:
            head, *rows = csv.reader(file)
            csv.writer(kept).writerows([head, *spread(rows, num_rows)])
    else:
        border = "\n\n" if path.suffix == ".conll" else "\n"
        rows = path.read_text(encoding="utf-8").strip().split(border)
        written.write_text(border.join(spread(rows, num_rows)) + "\n", encoding="utf-8")
    for beside in path.parent.iterdir():
        if beside.is_dir() and not (folder / beside.name).exists():
            (folder / beside.name).symlink_to(beside.resolve())
    return written


def spread(rows: list[Any], num_rows: int) -> list[Any]:
    return rows[:: max(1, len(rows) // num_rows)][:num_rows]


def quick(path: Path, folder: Path) -> Recipe:
    """The recipe with a few rows and two steps; rows that come from packages are left as they are."""
    whole = recipes.read(path)
    said = ["training.epochs=null", "training.steps=2", "training.batch_size=4", f"output={folder / 'run'}"]
    for split, num_rows in NUM_ROWS.items():
        source = getattr(whole.data, split)
        if isinstance(source, str) and source.startswith("data/"):
            assert Path(source).is_file(), f"{source} is not here: make data models fetches it"
            said.append(f"data.{split}={sample(source, num_rows, folder)}")
    for setting, value in SHORT.get(whole.task.kind(), {}).items():
        parts: dict[str, Any] = value if isinstance(value, dict) else {"": value}
        said += [f"task.{setting}{'.' if key else ''}{key}={each}" for key, each in parts.items()]
    if not whole.model.name.startswith(("package:", "build/")):  # of the hub
        said.append(f"model.name={tiny_model(folder / 'tiny', 't5')}")
    return recipes.read(path, [*said, *CUTS.get(path.stem, [])])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_runs(path: Path, tmp_path: Path) -> None:
    recipe = quick(path, tmp_path)
    run = luthier.train(recipe)
    assert run.records[-2]["event"] == "self-check"
    split = recipe.data.test if isinstance(recipe.data.test, str) else recipe.data.train
    if Path(split).is_file():
        rows, _ = run.read_rows(split, labelled=False)
        answers = run.answer(rows.select(range(2)))
    else:
        answers = run.predict(["Shares in the bank fell.", "The striker scored."])
    assert len(answers) == 2
    assert all(answer for answer in answers)
    shutil.rmtree(run.folder)
