"""Which rows to label next: unsure ones that differ, none that is labelled already, in a file to fill in."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from luthier.cli import main
from luthier.errors import DataError, RunError
from luthier.recipe import check
from luthier.run import Run
from luthier.suggesting import as_rows, diverse, key_of, overlap, suggest, words_of
from tests.runs import tiny_run

Scores = dict[str, float]


class Told(Run):
    """A run that answers with the scores it was told."""

    def __init__(self, folder: Path, scores: dict[str, Scores], *, task: Any, train: str = "gone.csv") -> None:
        super().__init__(folder)
        self.__dict__["recipe"] = check({"model": "m", "data": train, "task": task})
        self.told = scores

    def answer(self, rows: Any, **_: Any) -> list[dict[str, Any]]:
        scores = [self.told[text] for text in rows["text"]]
        if self.recipe.task.problem == "multi-label":  # type: ignore[attr-defined]
            return [{"labels": [name for name in each if each[name] >= 0.5], "scores": each} for each in scores]
        return [{"label": max(each, key=lambda name: each[name]), "scores": each} for each in scores]


def unlabelled(path: Path, *texts: str) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])
    return str(path)


def classes(problem: str) -> dict[str, Any]:
    return {"kind": "text-classification", "problem": problem, "labels": ["a", "b", "c"]}


def test_the_least_sure_come_first_with_the_answer_and_its_margin(tmp_path: Path) -> None:
    scores = {
        "one": {"a": 0.9, "b": 0.05, "c": 0.05},
        "two": {"a": 0.3, "b": 0.4, "c": 0.3},
        "three": {"a": 0.5, "b": 0.45, "c": 0.05},
    }
    run = Told(tmp_path, scores, task=classes("single-label"))
    found, notes = suggest(run, unlabelled(tmp_path / "new.csv", *scores), number=2)
    assert [(each.texts, each.suggested) for each in found] == [({"text": "three"}, "a"), ({"text": "two"}, "b")]
    assert [each.margin for each in found] == pytest.approx([0.05, 0.1])
    (note,) = notes
    assert note.startswith("the run's train rows cannot be read, so some of them may be suggested")


def test_of_several_labels_the_nearest_to_the_threshold_tells(tmp_path: Path) -> None:
    scores = {"one": {"a": 0.9, "b": 0.1, "c": 0.2}, "two": {"a": 0.55, "b": 0.8, "c": 0.0}}
    run = Told(tmp_path, scores, task=classes("multi-label"))
    found, _ = suggest(run, unlabelled(tmp_path / "new.csv", *scores))
    assert [(each.texts["text"], each.suggested) for each in found] == [("two", ("a", "b")), ("one", ("a",))]
    assert [each.margin for each in found] == pytest.approx([0.05, 0.3])
    assert [row["suggested"] for row in as_rows(found, "|")] == ["a|b", "a"]
    assert as_rows(found)[0] == {"text": "two", "label": "", "suggested": ["a", "b"], "margin": 0.05}


def test_labelled_rows_and_repeats_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text('text,label\n"Good day, sir!",a\nother,b\n')
    scores = {text: {"a": 0.5, "b": 0.3, "c": 0.2} for text in ("new", "more")}
    run = Told(tmp_path, scores, task=classes("single-label"), train=str(tmp_path / "train.csv"))
    source = unlabelled(tmp_path / "new.csv", "new", "good  day SIR", "NEW!", "more", "other")
    found, notes = suggest(run, source)
    assert [each.texts["text"] for each in found] == ["new", "more"]
    assert notes == [
        "2 of 5 rows are in the run's own data and were left out",
        "1 of 5 rows repeat another one but for case, blanks or marks",
    ]
    with pytest.raises(DataError, match="has no row that is not labelled"):
        suggest(run, unlabelled(tmp_path / "old.csv", "Other"))


def test_what_says_nearly_the_same_waits() -> None:
    texts = ["win money now", "win money now please", "see you at lunch", "win money"]
    words = [words_of(text) for text in texts]
    assert diverse([0.01, 0.02, 0.3, 0.03], words, 2) == [0, 2]
    assert diverse([0.01, 0.02, 0.3, 0.03], words, 9) == [0, 2, 3, 1]
    assert diverse([0.01, 0.02, 0.9, 0.03], words, 2) == [0, 3], "unsure and alike goes before sure and different"
    assert diverse([], [], 3) == []


def test_the_greedy_choice_is_that_of_the_whole_table() -> None:
    import random

    draw = random.Random(0)
    words = [frozenset(draw.choices("abcdefgh", k=5)) for _ in range(60)]
    margins = [draw.random() for _ in words]
    chosen: list[int] = []
    for _ in range(20):
        costs = {
            row: margins[row] + max((overlap(words[row], words[other]) for other in chosen), default=0.0)
            for row in range(60)
            if row not in chosen
        }
        chosen.append(min(costs, key=lambda row: (costs[row], margins[row])))
    assert diverse(margins, words, 20) == chosen


def test_case_blanks_marks_and_width_make_no_other_row() -> None:
    assert key_of({"text": "Good day, sir!"}) == key_of({"text": " good\nday SIR"})
    assert key_of({"text": "\uff47ood"}) == key_of({"text": "good"})
    assert key_of({"text": "good days"}) != key_of({"text": "good day s"})
    assert key_of({"text": ":)"}) != key_of({"text": ":("})
    assert overlap(frozenset("ab"), frozenset("bc")) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("task", "told"),
    [({"kind": "text-classification", "problem": "regression"}, "is a regression"), ("masked-lm", "is masked-lm")],
)
def test_what_has_no_labels_is_refused(tmp_path: Path, task: Any, told: str) -> None:
    with pytest.raises(RunError, match=told):
        suggest(Told(tmp_path, {}, task=task), "new.csv")


def luthier(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.mark.slow
def test_a_run_suggests_on_the_screen_and_into_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = tiny_run(tmp_path)
    with (tmp_path / "rows.csv").open() as file:
        known = next(csv.DictReader(file))["text"]
    source = unlabelled(tmp_path / "new.csv", known, "w0 w2", "w0 w0 w40", "w1 w1 w41", "w2 w2 w42", "w0 w1 w2")
    assert luthier("suggest", run.folder, "--file", source, "--number", 3) == 0
    shown = capsys.readouterr()
    assert "suggested" in shown.out
    assert "1 of 6 rows are in the run's own data" in shown.err

    for name in ("fill.csv", "fill.jsonl"):
        assert luthier("suggest", run.folder, "--file", source, "--number", 3, "--output", tmp_path / name) == 0
    with (tmp_path / "fill.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [list(row) for row in rows] == [["text", "label", "suggested", "margin"]] * 3
    assert all(row["label"] == "" and row["text"] != known for row in rows)
    lines = [json.loads(line) for line in (tmp_path / "fill.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [row["text"] for row in rows]
    assert luthier("suggest", run.folder, "--file", source, "--output", tmp_path / "fill.csv") == 2
    assert "perhaps with labels in it" in capsys.readouterr().err
