"""Few rows of each label: how many are kept, which ones, and what is told of it."""

import csv
import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.source import DataSource
from luthier.data.splits import Splits, load
from luthier.errors import RecipeError
from luthier.groundwork import read_rows
from luthier.recipe import check
from luthier.tasks._labels import as_labels
from luthier.tasks.text_classification import TextClassification

COLUMNS = TextClassification().layouts()


def table(folder: Path, **counts: int) -> str:
    """A file with so many rows of each label."""
    with (folder / "train.csv").open("w", newline="") as file:
        rows = [(f"{label} {number}", label) for label, count in counts.items() for number in range(count)]
        csv.writer(file).writerows([("text", "label"), *rows])
    return str(folder / "train.csv")


def listed(folder: Path, labels: list[Any]) -> str:
    """A file with a row for each value of `label`."""
    lines = (json.dumps({"text": f"text {number}", "label": value}) for number, value in enumerate(labels))
    (folder / "train.jsonl").write_text("\n".join(lines))
    return str(folder / "train.jsonl")


def loaded(source: str, *, seed: int = 0, separator: str | None = None, **said: Any) -> Splits:
    data = DataSource.model_validate({"train": source, "validation": None, **said})
    return load(data, COLUMNS, seed=seed, labels_of=partial(as_labels, separator=separator))


def texts(rows: Any) -> list[str]:
    return list(rows["text"])


def test_of_each_label_so_many_are_kept_once_the_shares_are_cut(tmp_path: Path) -> None:
    source = table(tmp_path, a=60, b=30, c=10)
    few, whole = (loaded(source, validation=0.1, test=0.2, **said) for said in ({"n_per_class": 4}, {}))
    assert Counter(few.train["label"]) == {"a": 4, "b": 4, "c": 4}
    assert set(texts(few.train)) < set(texts(whole.train))
    for split in ("validation", "test"):
        assert texts(few.named()[split]) == texts(whole.named()[split])
    assert few.notes == ("train: 12 of 72 rows are learnt from, 4 of each label (data.n_per_class)",)


def test_a_seed_draws_its_own_rows_and_few_are_part_of_more(tmp_path: Path) -> None:
    source = table(tmp_path, a=60, b=30)
    two, four, other = (loaded(source, n_per_class=n, seed=seed) for n, seed in ((2, 0), (4, 0), (4, 1)))
    assert texts(loaded(source, n_per_class=4).train) == texts(four.train)
    assert set(texts(two.train)) < set(texts(four.train))
    assert texts(other.train) != texts(four.train)


def test_a_cut_seed_of_its_own_leaves_the_test_rows_as_they_are(tmp_path: Path) -> None:
    source = table(tmp_path, a=60, b=30)
    said: dict[str, Any] = {"test": 0.2, "validation": 0.1, "n_per_class": 4}
    one, other = (loaded(source, seed=seed, cut_seed=7, **said) for seed in (1, 2))
    for split in ("test", "validation"):
        assert texts(one.named()[split]) == texts(other.named()[split])
    assert texts(one.train) != texts(other.train)
    assert texts(loaded(source, seed=1, **said).test) != texts(loaded(source, seed=2, **said).test)


def test_a_label_with_fewer_rows_keeps_them_all_and_is_told(tmp_path: Path) -> None:
    splits = loaded(table(tmp_path, a=20, b=3, c=1), n_per_class=4)
    assert Counter(splits.train["label"]) == {"a": 4, "b": 3, "c": 1}
    assert splits.notes[1] == "train: labels with fewer than 4 rows keep all they have: c (1), b (3)"


@settings(max_examples=60)
@given(st.lists(st.sets(st.sampled_from("abcde")), min_size=2, max_size=40), st.integers(1, 6), st.integers(0, 3))
def test_of_several_labels_a_row_each_has_its_number_or_all_it_has(
    tmp_path_factory: pytest.TempPathFactory, labels: list[set[str]], num_each: int, seed: int
) -> None:
    """Rows without a label count as having one more."""
    source = listed(tmp_path_factory.mktemp("few"), [sorted(each) for each in labels])
    kept = loaded(source, n_per_class=num_each, seed=seed).train
    found = Counter(label for each in kept["label"] for label in each or [""])
    there = Counter(label for each in labels for label in each or {""})
    assert all(found[label] >= min(num_each, there[label]) for label in there)
    assert len(kept) <= num_each * len(there)


def test_labels_of_one_field_are_told_apart_by_the_separator(tmp_path: Path) -> None:
    splits = loaded(listed(tmp_path, ["a|b"] * 5 + ["a"] * 5 + ["b"] * 5), n_per_class=2, separator="|")
    found = Counter(label for value in splits.train["label"] for label in value.split("|"))
    assert min(found.values()) >= 2
    assert len(splits.train) <= 4


@pytest.mark.parametrize(
    ("task", "rows", "told"),
    [
        ("masked-lm", [{"text": "a b"}, {"text": "b c"}], "have no labels to be drawn by"),
        ("text-classification", [{"text": "a b", "label": 0.5}, {"text": "b c", "label": 1.5}], "have measures"),
    ],
)
def test_rows_without_classes_are_refused(tmp_path: Path, task: str, rows: list[Any], told: str) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    data = {"train": str(source), "validation": None, "n_per_class": 2}
    with pytest.raises(RecipeError, match=rf"data\.n_per_class: .*{told}"):
        read_rows(check({"model": "m", "data": data, "task": task}))
