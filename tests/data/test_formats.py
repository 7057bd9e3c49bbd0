"""JSON documents, tables, saved folders, compressed files; and what is never opened."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.formats import json_document
from luthier.data.read import read
from luthier.errors import DataError

ROWS = [{"text": "one", "label": "a"}, {"text": "two", "label": "b"}]
COMPRESS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def rows(path: Path, split: str = "train") -> list[Any]:
    return list(read(str(path), split, encoding="utf-8", where=f"data.{split}"))


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path: Path, split: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        rows(path, split)
    return str(caught.value)


def document(folder: Path, content: str) -> Path:
    return written(folder / "a.json", content)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "around", [lambda rows: rows, lambda rows: {"version": [1, 2], "data": rows, "about": {"a": []}}]
)
def test_a_json_documents_rows_are_its_list_of_objects(tmp_path: Path, indent: Any, around: Any) -> None:
    found = rows(document(tmp_path, json.dumps(around(ROWS), indent=indent)))
    assert [row for _, row in found] == ROWS


def test_a_json_row_stands_in_the_line_it_begins_in(tmp_path: Path) -> None:
    found = rows(document(tmp_path, '[\n {"text": "a",\n  "label": 1},\n\n 5, {"x": 1, "x": 2},\n {"text": "b"}\n]\n'))
    assert found == [
        ("a.json:2", {"text": "a", "label": 1}),
        ("a.json:5", "is JSON, but no object: 5"),
        ("a.json:5", "has the key x twice"),
        ("a.json:6", {"text": "b"}),
    ]


@settings(max_examples=60)
@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.floats(0, 1)))), st.integers(1, 40))
def test_json_is_read_alike_in_pieces_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[Any], piece: int
) -> None:
    path = document(tmp_path_factory.mktemp("json"), json.dumps([*wanted, 12345], indent=1, ensure_ascii=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_document, "PIECE", piece)
        found = rows(path)
    assert [row for _, row in found] == [*wanted, "is JSON, but no object: 12345"]
    starts = [n for n, line in enumerate(path.read_text().split("\n"), 1) if line.startswith((" {", " 1"))]
    assert [place for place, _ in found] == [f"a.json:{number}" for number in starts]


def test_json_lines_that_are_called_json_are_read(tmp_path: Path) -> None:
    assert rows(document(tmp_path, '\n{"text": "a"}\n{"text": "b"}\n')) == [
        ("a.json:2", {"text": "a"}),
        ("a.json:3", {"text": "b"}),
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"text": "a"}', "a.json:1: has no list of objects in it; write a list of objects, or one object a line"),
        ('{"text": ["a"], "label": [1]}', "a.json:1: has no list of objects in it"),
        ('{"a": [{}],\n "b": [{}]}', "a.json:2: has two lists of objects, a and b; make a file of each"),
        ('[{"a": 1},\n {"a": 2', "a.json:2: is no JSON from here on"),
        ('[{"a": 1}\n {"a": 2}]', "a.json:2: is no JSON from here on: , or ] is missing"),
        ('[{"a": 1}]\n[', "a.json:2: has more behind its end"),
        ("5", "a.json:1: is neither a list of objects nor"),
        ('{"a": 1,\n', "a.json:2: is no JSON from here on"),
        ("[" * 9999, "a.json:1: is no JSON from here on: nested too deep"),
    ],
)
def test_a_document_without_rows_is_refused_with_its_line(tmp_path: Path, content: str, problem: str) -> None:
    assert refusal(document(tmp_path, content)).startswith(problem)


@pytest.mark.parametrize("content", ["", "[]", " [ ]\n"])
def test_an_empty_document_has_no_rows(tmp_path: Path, content: str) -> None:
    assert rows(document(tmp_path, content)) == []


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("name", ["a.csv", "a.TSV", "a.jsonl", "a.json"])
def test_a_compressed_file_is_read_as_the_file_it_holds(tmp_path: Path, name: str, suffix: str) -> None:
    lines = [json.dumps(row) for row in ROWS]
    contents = {"a.csv": "text,label\none,a\ntwo,b\n", "a.TSV": "text\tlabel\none\ta\ntwo\tb\n"}
    content = contents.get(name, "\n".join(lines))
    found = rows(written(tmp_path / f"{name}{suffix}", COMPRESS[suffix](content.encode())))
    assert found == [
        (place.replace(name, name + suffix), row) for place, row in rows(written(tmp_path / name, content))
    ]
    assert [row for _, row in found] == ROWS


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:-20], lambda whole: b"text,label\na,1\n", lambda whole: b"x" * 99]
)
def test_a_compressed_file_that_is_broken_is_refused(tmp_path: Path, suffix: str, damage: Any) -> None:
    content = "text,label\n" + "".join(f"{number},{number * 7 % 13}\n" for number in range(9999))
    message = refusal(written(tmp_path / f"a.csv{suffix}", damage(COMPRESS[suffix](content.encode()))))
    assert message.startswith(f"data.train: a.csv{suffix} cannot be ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.zip", "a.zip is an archive, and none is unpacked; unpack it"),
        ("a.csv.tar.gz", "a.csv.tar.gz is an archive"),
        ("a.tgz", "a.tgz is an archive"),
        ("a.pkl", "a.pkl may be a pickle, which runs code when it is opened, so it never is; write its rows as CSV"),
        ("a.PT", "a.PT may be a pickle"),
        ("a.bin", "a.bin may be a pickle"),
        ("a.gz", "cannot read a.gz; known formats"),
        ("a.parquet.gz", "cannot read a.parquet.gz"),
    ],
)
def test_what_is_never_opened_is_refused_with_what_to_do(tmp_path: Path, name: str, message: str) -> None:
    assert refusal(written(tmp_path / name, b"cos\nsystem\n(S'exit'\ntR.")).startswith(f"data.train: {message}")


def labelled() -> Dataset:
    """Label numbers with names, one row without a label."""
    names = ClassLabel(names=["a", "b"])
    features = Features({"text": Value("string"), "label": names, "topics": List(names)})
    return Dataset.from_dict({"text": ["x", "y", "z"], "label": [1, 0, -1], "topics": [[0, 1], [], [1]]}, features)


NAMED = [
    {"text": "x", "label": "b", "topics": ["a", "b"]},
    {"text": "y", "label": "a", "topics": []},
    {"text": "z", "label": None, "topics": ["b"]},
]


def test_parquet_is_read_with_the_names_of_its_labels(tmp_path: Path) -> None:
    labelled().to_parquet(tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet") == [(f"a.parquet:{number}", row) for number, row in enumerate(NAMED)]


def test_a_saved_datasets_folder_is_read_with_the_names_of_its_labels(tmp_path: Path) -> None:
    labelled().save_to_disk(tmp_path / "saved")
    assert rows(tmp_path / "saved") == [(f"saved:{number}", row) for number, row in enumerate(NAMED)]


def test_of_several_saved_splits_the_one_of_that_name_is_read(tmp_path: Path) -> None:
    parts = {"train": labelled(), "test": labelled().select([1])}
    DatasetDict(parts).save_to_disk(tmp_path / "saved")
    assert rows(tmp_path / "saved", "test") == [("saved:0", NAMED[1])]
    assert rows(tmp_path / "saved" / "test") == [("test:0", NAMED[1])]
    message = (
        "data.validation: saved holds the splits train, test, but no validation (name the folder of one, as in saved/"
    )
    assert refusal(tmp_path / "saved", "validation").startswith(message)


def test_tables_that_are_broken_are_refused(tmp_path: Path) -> None:
    labelled().to_parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    for number, content in enumerate((b"", b"x" * 200, whole[:-30], whole[:40] + b"\xff" * 60 + whole[100:])):
        path = written(tmp_path / f"{number}.parquet", content)
        assert refusal(path).startswith(
            (f"{number}.parquet: is no Parquet file", f"data.train: {number}.parquet cannot")
        )
    labelled().save_to_disk(tmp_path / "saved")
    written(tmp_path / "saved" / "state.json", b"{")
    assert refusal(tmp_path / "saved").startswith("data.train: saved is no datasets folder that can be read")


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.csv", "text\nw\n")

    def forbidden(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", forbidden)
    assert refusal(path) == "data.train: a.csv cannot be read: Permission denied"
