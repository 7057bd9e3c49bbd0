"""From sources to splits: what is left out, what is cut, and what is told of it."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.read import read
from luthier.data.sift import sift
from luthier.data.source import DataSource
from luthier.data.splits import Splits, load
from luthier.errors import DataError
from luthier.tasks.text_classification import TextClassification

COLUMNS = TextClassification().layouts()
Pairs = list[tuple[str, str]]


def table(folder: Path, rows: Pairs, name: str = "train.csv") -> str:
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return str(folder / name)


def loaded(source: str, *, seed: int = 0, **said: Any) -> Splits:
    return load(DataSource.model_validate({"train": source, "validation": None, **said}), COLUMNS, seed=seed)


def numbered(num_rows: int, label: str) -> Pairs:
    return [(f"{label} {number}", label) for number in range(num_rows)]


def texts(rows: Any) -> list[str]:
    return list(rows["text"])


def test_shares_are_stratified_seeded_and_disjoint(tmp_path: Path) -> None:
    source = table(tmp_path, numbered(60, "a") + numbered(30, "b") + numbered(10, "c"))
    splits = loaded(source, validation=0.1, test=0.2)
    assert Counter(splits.test["label"]) == {"a": 12, "b": 6, "c": 2}
    assert Counter(splits.validation["label"]) == {"a": 5, "b": 2, "c": 1}
    assert sorted(t for rows in splits.named().values() for t in texts(rows)) == sorted(
        t for t, _ in numbered(60, "a") + numbered(30, "b") + numbered(10, "c")
    )
    again, other = (loaded(source, validation=0.1, test=0.2, seed=seed) for seed in (0, 1))
    assert texts(again.test) == texts(splits.test)
    assert texts(other.test) != texts(splits.test)


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from("abcdefg"), min_size=2, max_size=40),
    st.floats(0.01, 0.99),
    st.integers(0, 3),
)
def test_any_share_of_any_labels_is_cut_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, labels: list[str], share: float, seed: int
) -> None:
    rows = [(f"{label} {number}", label) for number, label in enumerate(labels)]
    source = table(tmp_path_factory.mktemp("cut"), rows)
    if not 0 < round(share * len(rows)) < len(rows):
        with pytest.raises(DataError, match="leaves a split empty"):
            loaded(source, validation=share, seed=seed)
        return
    splits = loaded(source, validation=share, seed=seed)
    assert len(splits.validation) == round(share * len(rows))
    assert sorted(texts(splits.train) + texts(splits.validation)) == sorted(text for text, _ in rows)


def test_a_label_of_one_row_is_learnt_and_the_others_stay_stratified(tmp_path: Path) -> None:
    source = table(tmp_path, [*numbered(60, "a"), ("x", "only"), *numbered(30, "b"), *numbered(10, "c")])
    splits = loaded(source, test=0.2)
    assert Counter(splits.test["label"]) == {"a": 12, "b": 6, "c": 2}
    assert Counter(splits.train["label"]) == {"a": 48, "b": 24, "c": 8, "only": 1}


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from("abcdefghijklm"), min_size=4, max_size=40),
    st.floats(0.1, 0.9),
    st.integers(1, 2),
    st.integers(0, 3),
)
def test_no_label_is_cut_off_whole_where_there_is_room_to_keep_it(
    tmp_path_factory: pytest.TempPathFactory, labels: list[str], share: float, num_each: int, seed: int
) -> None:
    """With one label a row, and with several."""
    folder = tmp_path_factory.mktemp("cut")
    sets = [sorted({label, labels[(i + 1) % len(labels)]})[:num_each] for i, label in enumerate(labels)]
    source = labelled(folder, *(json.dumps(each if num_each > 1 else each[0]) for each in sets))
    num_cut = round(share * len(labels))
    if not 0 < num_cut < len(labels):
        return
    splits = loaded(source, validation=share, seed=seed)
    assert len(splits.validation) == num_cut
    learnt = {label for value in splits.train["label"] for label in value}
    if num_each == 1 and len(set(labels)) <= len(labels) - num_cut:
        assert learnt == set(labels)


def test_measures_are_cut_at_random(tmp_path: Path) -> None:
    for kind in (str, float):
        values = [kind(number / 7) for number in range(1, 61)] + [kind(0.5)] * 5
        splits = loaded(labelled(tmp_path, *(json.dumps(value) for value in values)), validation=0.2)
        assert len(splits.validation) == 13
        assert Counter(splits.validation["label"])[kind(0.5)] < 5


def test_a_share_that_leaves_a_split_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.validation: 0\.1 of 3 rows leaves a split empty"):
        loaded(table(tmp_path, numbered(3, "a")), validation=0.1)


def test_repeats_are_dropped_in_place_and_told(tmp_path: Path) -> None:
    source = table(tmp_path, [("w", "a"), ("v", "a"), ("w", "a"), ("w", "b")])
    splits = loaded(source)
    assert list(zip(texts(splits.train), splits.train["label"], strict=True)) == [("w", "a"), ("v", "a"), ("w", "b")]
    assert splits.notes == ("train: 1 of 4 rows repeat another one and were dropped",)
    kept = loaded(source, duplicates="keep")
    assert (len(kept.train), kept.notes) == (4, ())


def test_a_text_that_training_has_too_is_told(tmp_path: Path) -> None:
    source = table(tmp_path, [("w", "a"), ("v", "b")])
    other = table(tmp_path, [("w", "b"), ("u", "a"), ("t", "a")], "test.csv")
    splits = loaded(source, test=other)
    assert splits.notes == ("test: 1 of 3 rows have a text that training has too (a leak)",)


def test_columns_that_go_by_another_name_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Body,y\nw,1\n")
    assert loaded(str(path)).notes == ("train: read Body as text, y as label",)


BAD = "text,label\nw,a\n,b\nv,\nu,b\ntoo,many,fields\n  ,\n"


def test_bad_rows_are_all_told_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(BAD)
    with pytest.raises(DataError) as caught:
        loaded(str(tmp_path / "a.csv"))
    assert str(caught.value).splitlines() == [
        "data.train: 4 of 6 rows cannot be used:",
        "  a.csv:3: text is empty",
        "  a.csv:4: label is empty",
        "  a.csv:6: has 1 more fields than the header",
        "  a.csv:7: text is blank; label is empty",
        "Mend them, or leave them out with data.bad_rows=skip",
    ]


def test_bad_rows_that_are_skipped_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(BAD)
    splits = loaded(str(tmp_path / "a.csv"), bad_rows="skip")
    assert texts(splits.train) == ["w", "u"]
    assert splits.notes[0].startswith("train: 4 of 6 rows skipped:\n  a.csv:3: text is empty\n")


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["good", "bad", "blank", "repeat", "broken", "line"]), min_size=1, max_size=60))
def test_every_row_is_counted_once(tmp_path_factory: pytest.TempPathFactory, kinds: list[str]) -> None:
    """Good, bad and repeated rows add up to all rows of the file."""
    lines = {
        "bad": '{"text": 5}',
        "blank": '{"text": " ", "label": "a"}',
        "repeat": '{"text": "again", "label": "a"}',
        "broken": "{",
        "line": "",
    }
    path = tmp_path_factory.mktemp("count") / "a.jsonl"
    good = [f'{{"text": "w{number}", "label": "a"}}' for number in range(len(kinds))]
    path.write_text("\n".join([*(lines.get(kind, good[i]) for i, kind in enumerate(kinds)), good[0]]) + "\n")
    data = DataSource(train=str(path), bad_rows="skip")
    sifted = sift(read(str(path), "train", encoding="utf-8", where="data.train"), COLUMNS, data, where="data.train")
    assert sifted.num_bad == sum(kind in ("bad", "blank", "broken") for kind in kinds)
    assert sifted.num_repeats == max(0, kinds.count("repeat") - 1) + (kinds[:1] == ["good"])
    assert sifted.num_rows == len(kinds) + 1 - kinds.count("line")
    assert len(sifted.rows) == sifted.num_good
    assert len(sifted.problems) == min(10, sifted.num_bad)


def test_a_first_row_without_a_label_is_one_bad_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "w"}\n{"text": "v", "label": "a"}\n')
    with pytest.raises(DataError, match=r"1 of 2 rows cannot be used:\n  a\.jsonl:1: label is empty"):
        loaded(str(tmp_path / "a.jsonl"))


def test_rows_keep_their_places_through_cuts_repeats_and_bad_rows(tmp_path: Path) -> None:
    pairs = [pair for number in range(40) for pair in ((f"text {number}", "ab"[number % 2]), ("again", "a"), ("", "a"))]
    lines = Path(table(tmp_path, pairs)).read_text().splitlines()
    splits = loaded(table(tmp_path, pairs), test=0.2, validation=0.1, bad_rows="skip")
    for name, rows in splits.named().items():
        assert rows.column_names == ["text", "label"]
        for number, row in enumerate(rows):
            file, _, line = splits.place(name, number).partition(":")
            assert file == "train.csv"
            assert lines[int(line) - 1] == f"{row['text']},{row['label']}"


def test_of_many_bad_rows_ten_are_shown(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + ",b\n" * 25)
    with pytest.raises(DataError, match="25 of 25 rows") as caught:
        loaded(str(tmp_path / "a.csv"))
    assert str(caught.value).count("text is empty") == 10
    assert "and 15 more" in str(caught.value)


@pytest.mark.parametrize(("bad_rows", "message"), [("skip", "no rows"), ("fail", "1 of 1 rows")])
def test_a_source_without_a_usable_row_is_refused(tmp_path: Path, bad_rows: str, message: str) -> None:
    (tmp_path / "a.csv").write_text("text,label\n,b\n")
    with pytest.raises(DataError, match=message):
        loaded(str(tmp_path / "a.csv"), bad_rows=bad_rows)


def labelled(folder: Path, *labels: str) -> str:
    """Rows with these labels, each written as JSON."""
    lines = [f'{{"text": "w{number}", "label": {label}}}' for number, label in enumerate(labels)]
    (folder / "a.jsonl").write_text("\n".join(lines))
    return str(folder / "a.jsonl")


@pytest.mark.parametrize("labels", [('"a"', "1"), ("1", '"a"'), ("[1]", "2"), ('["a"]', '"b"'), ("true", "0")])
def test_labels_that_are_not_alike_are_refused(tmp_path: Path, labels: tuple[str, str]) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl:2: label is .* but in a\.jsonl:1 it is .* must be alike"):
        loaded(labelled(tmp_path, *labels))


@pytest.mark.parametrize("label", ['{"x": 1}', '[["a"]]', '[{"x": 1}]'])
def test_a_label_that_is_none_is_refused_with_its_line(tmp_path: Path, label: str) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl:2: label is .*; it must be text, a number, or a list of them"):
        loaded(labelled(tmp_path, '"a"', label))


@pytest.mark.parametrize("labels", [("1", "2.5"), ("1", "2"), ('["a", "b"]', "[]"), ("true", "false")])
def test_labels_that_are_alike_are_read(tmp_path: Path, labels: tuple[str, str]) -> None:
    assert len(loaded(labelled(tmp_path, *labels)).train) == 2


def test_an_encoding_that_does_not_exist_is_refused_in_the_recipe() -> None:
    for encoding in ("utf-88", "hex"):
        with pytest.raises(ValueError, match=f"no encoding is called {encoding}"):
            DataSource(train="a.csv", encoding=encoding)
