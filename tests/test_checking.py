"""`luthier check` tells what a run would meet, before its first step, and leaves no trace."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from luthier.checking import Checked, check
from luthier.cli import main
from luthier.errors import LuthierError, MethodError, RecipeError
from luthier.models import processor
from luthier.models.processor import load_tokenizer
from luthier.recipe import Recipe
from luthier.report.checked import print_checked
from tests.runs import tiny_model, write_rows


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "base")


def recipe(base: Path, rows: Path, **parts: Any) -> Recipe:
    said = {"model": str(base), "data": str(rows), "task": "text-classification", "output": str(rows.parent / "run")}
    return Recipe.model_validate(said | parts)


def written(path: Path, rows: list[tuple[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def shown(checked: Checked) -> str:
    screen = io.StringIO()
    print_checked(checked, Console(width=120, highlight=False, soft_wrap=True, file=screen))
    return screen.getvalue()


def test_counts_lengths_and_steps_are_those_of_the_rows(base: Path, tmp_path: Path) -> None:
    texts = [" ".join(["w1"] * length) for length in range(1, 21)]
    rows = written(tmp_path / "rows.csv", [(text, "a" if n < 5 else "b") for n, text in enumerate(texts)])
    checked = check(
        recipe(
            base,
            rows,
            data={"train": str(rows), "validation": None},
            task={"kind": "text-classification", "max_length": 12},
            training={"batch_size": 8},
        )
    )
    assert checked.rows == {"train": 20}
    assert checked.labels == {"train": {"a": 5, "b": 15}}
    lengths = checked.lengths["train"]  # two special tokens each: 3 to 22
    assert (lengths.median, lengths.most, lengths.longest) == (13, 22, 22)
    assert lengths.longer == lengths.cut == pytest.approx(np.mean(np.arange(3, 23) > 12))
    assert checked.steps_per_epoch == 3


def test_an_example_is_what_the_model_is_shown(base: Path, tmp_path: Path) -> None:
    rows = written(tmp_path / "rows.csv", [("w1 w2 unheard w3", "a"), ("w4", "b")] * 2)
    asked = recipe(base, rows, data={"train": str(rows), "validation": None, "duplicates": "keep"})
    first, second, third = check(asked).examples
    assert (first.pieces, first.num_tokens, first.target) == ([("[CLS] w1 w2 [UNK] w3 [SEP]", False)], 6, "label a")
    assert second.pieces == [("[CLS] w4 [SEP]", False)]
    assert third == first
    short = recipe(base, rows, data=asked.data.model_dump(), task={"kind": "text-classification", "max_length": 4})
    assert check(short).examples[0].pieces == [("[CLS] w1 w2 [SEP]", False)]


def test_open_settings_are_told_as_they_are_settled(base: Path, tmp_path: Path) -> None:
    checked = check(recipe(base, write_rows(tmp_path / "rows.csv"), method="lora"))
    assert checked.settled["task.labels"] == ("good", "neutral", "poor")
    assert checked.settled["training.learning_rate"] == checked.recipe.training.learning_rate
    assert "training.batch_size" not in checked.settled
    assert "auto" not in checked.settled.values()


def test_a_recipe_that_is_to_be_searched_is_checked_as_its_first_trial(base: Path, tmp_path: Path) -> None:
    found = check(recipe(base, write_rows(tmp_path / "rows.csv"), search={"budget": "4 runs"}))
    assert found.recipe.search is None
    assert "search" not in found.settled


def test_what_learns_is_told_by_name_and_number(base: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.csv")
    head = check(recipe(base, rows, method={"kind": "partial", "train": "head"}))
    assert head.learning == {"classifier": 32 * 3 + 3}
    full = check(recipe(base, rows))
    assert sum(full.learning.values()) == full.num_parameters == head.num_parameters


def test_repeats_leaks_and_balance_are_noted(base: Path, tmp_path: Path) -> None:
    train = [(f"w{n} w{n}", "often") for n in range(40)] + [("w41", "seldom"), ("w42", "seldom"), ("w1 w1", "often")]
    rows = written(tmp_path / "rows.csv", train)
    other = written(tmp_path / "other.csv", [("w3 w3", "often"), ("w50", "seldom")])
    asked = recipe(base, rows, data={"train": str(rows), "validation": None, "test": str(other)})
    notes = "\n".join(check(asked).notes)
    assert "1 of 43 rows repeat another one" in notes
    assert "1 of 2 rows" in notes
    assert "leak" in notes
    assert "often has 20 times the rows of seldom; task.class_weights=auto" in notes


@pytest.mark.parametrize("problem", ["multi-label", "regression"])
def test_other_problems_are_told_too(base: Path, tmp_path: Path, problem: str) -> None:
    labels = ["a|b", "b", "a", "b|c"] if problem == "multi-label" else ["0.5", "1.5", "2.25", "3.0"]
    rows = written(tmp_path / "rows.csv", [(f"w{n}", labels[n % 4]) for n in range(20)])
    task = {"kind": "text-classification", "problem": problem}
    separator = {"label_separator": "|"} if problem == "multi-label" else {}
    checked = check(recipe(base, rows, data={"train": str(rows), "validation": None}, task=task | separator))
    if problem == "multi-label":
        assert checked.labels == {"train": {"a": 10, "b": 15, "c": 5}}
    else:
        assert checked.numbers == {"train": (0.5, pytest.approx(1.8125), 3.0)}
    assert "Example 1" in shown(checked)


@pytest.mark.parametrize(
    ("parts", "error", "told"),
    [
        ({"method": {"kind": "lora", "targets": "q_proj"}}, MethodError, "method.targets"),
        ({"training": {"best": "acuracy"}}, RecipeError, "did you mean accuracy"),
        ({"task": {"kind": "text-classification", "max_length": 4000}}, RecipeError, "task.max_length"),
    ],
)
def test_what_would_break_a_run_breaks_the_check(
    base: Path, tmp_path: Path, parts: dict[str, Any], error: type[LuthierError], told: str
) -> None:
    with pytest.raises(error, match=told):
        check(recipe(base, write_rows(tmp_path / "rows.csv"), **parts))


def test_a_metric_is_missed_before_the_model_is_loaded(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.csv")
    with pytest.raises(RecipeError, match=r"training\.best"):
        check(recipe(tmp_path / "no-model", rows, training={"best": "acuracy"}))


def test_the_command_writes_nothing_and_shows_everything(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "rows.csv")
    monkeypatch.chdir(tmp_path)
    options = ("--model", str(base), "--data", "rows.csv", "--task", "text-classification", "--method", "lora")
    with pytest.raises(SystemExit) as left:
        main(["check", *options])
    assert left.value.code == 0
    told = capsys.readouterr().out
    for part in ("Labels", "Tokens a row", "parameters learn", "Settings that were open", "Example 3", "[CLS]"):
        assert part in told
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_an_output_that_is_there_is_noted(base: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.csv")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").write_text("")
    assert any("is there already" in note for note in check(recipe(base, rows)).notes)


def test_no_text_moves_the_cursor_or_is_taken_for_markup(base: Path, tmp_path: Path) -> None:
    rows = written(tmp_path / "rows.csv", [("w1", "[red]a\x1b[2J"), ("w2", "b")] * 4)
    asked = recipe(base, rows, data={"train": str(rows), "validation": None, "duplicates": "keep"})
    told = shown(check(asked))
    assert "[red]a [2J" in told
    assert "\x1b" not in told


def test_a_processor_is_loaded_once(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(source: Any) -> Any:
        asked.append(source.name)
        return load_tokenizer(source)

    monkeypatch.setattr(processor, "load_tokenizer", counted)
    check(recipe(base, write_rows(tmp_path / "rows.csv")))
    assert len(asked) == 1
