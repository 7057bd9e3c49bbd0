"""Rows out of files, each with its place; and what is wrong with those that are none."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.read import read
from luthier.errors import DataError


def rows(path: Path, encoding: str = "utf-8") -> list[Any]:
    return list(read(str(path), "train", encoding=encoding, where="data.train"))


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path: Path, encoding: str = "utf-8") -> str:
    with pytest.raises(DataError) as caught:
        rows(path, encoding)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.csv", "a.CSV"])
def test_a_csv_row_stands_in_its_line(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, "text,label\none,1\ntwo,2\n")
    assert rows(path) == [(f"{name}:2", {"text": "one", "label": "1"}), (f"{name}:3", {"text": "two", "label": "2"})]


def test_a_mark_at_a_files_beginning_is_no_text(tmp_path: Path) -> None:
    content = {"a.csv": "text,label\nw,1\n", "a.jsonl": '{"text": "w", "label": "1"}\n', "c/1/a.txt": "w"}
    for name, text in content.items():
        path = written(tmp_path, name, b"\xef\xbb\xbf" + text.encode())
        ((_, row),) = rows(tmp_path / "c" if name.startswith("c/") else path)
        assert row == {"text": "w", "label": "1"}


def test_quotes_commas_and_newlines_within_a_csv_field_are_text(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", 'text,label\r\n"a ""b"", c\nd",1\r\n\r\nlast,2\r\n')
    assert rows(path) == [
        ("a.csv:3", {"text": 'a "b", c\nd', "label": "1"}),
        ("a.csv:5", {"text": "last", "label": "2"}),
    ]


def test_tabs_part_a_tsv(tmp_path: Path) -> None:
    assert rows(written(tmp_path, "a.tsv", "text\tlabel\na, b\t1\n")) == [("a.tsv:2", {"text": "a, b", "label": "1"})]


def test_csv_rows_of_another_width_than_the_header_are_told(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "text,label\na,1,x,y\nb\nc,2\n")
    assert rows(path) == [
        ("a.csv:2", "has 2 more fields than the header"),
        ("a.csv:3", "has fewer fields than the header"),
        ("a.csv:4", {"text": "c", "label": "2"}),
    ]


def test_a_csv_with_an_index_column_without_a_name_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", ",text,label\n0,a,1\n1,b,2,x\n")
    assert rows(path) == [
        ("a.csv:2", {"": "0", "text": "a", "label": "1"}),
        ("a.csv:3", "has 1 more fields than the header"),
    ]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, "a.csv", "text,label,text\na,1,b\n")) == "a.csv:1: two columns are called text"


def test_a_csv_that_breaks_off_is_told_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", 'text,label\na,1\n"b" c,2\n')
    assert refusal(path).startswith("a.csv:3: is no CSV from here on: ")


@pytest.mark.parametrize("num_lines", [3, 3000])
def test_a_byte_that_is_no_text_is_told_with_its_own_line(tmp_path: Path, num_lines: int) -> None:
    lines = [b"text,label"] + [b"w,1"] * num_lines
    lines[-2] = b"caf\xe9,1"
    message = refusal(written(tmp_path, "a.csv", b"\n".join(lines)))
    assert message.startswith(f"a.csv:{num_lines}: byte 0xe9 ")
    assert "say data.encoding, e.g. latin-1" in message


def test_the_encoding_that_is_said_is_read(tmp_path: Path) -> None:
    for encoding in ("latin-1", "utf-16"):
        path = written(tmp_path, "a.csv", "text,label\ncafé,1\n".encode(encoding))
        assert rows(path, encoding) == [("a.csv:2", {"text": "café", "label": "1"})]


def test_a_csv_field_may_be_long(tmp_path: Path) -> None:
    ((_, row),) = rows(written(tmp_path, "a.csv", f"text,label\n{'w' * 200_000},1\n"))
    assert len(row["text"]) == 200_000


@pytest.mark.parametrize("content", ["", "text,label\n"])
def test_an_empty_csv_has_no_rows(tmp_path: Path, content: str) -> None:
    assert rows(written(tmp_path, "a.csv", content)) == []


@given(st.lists(st.fixed_dictionaries({"text": st.text(), "label": st.integers() | st.lists(st.text())})))
def test_what_is_written_as_json_lines_is_read_back(tmp_path_factory: pytest.TempPathFactory, wanted: Any) -> None:
    path = tmp_path_factory.mktemp("json") / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in wanted))
    assert [row for _, row in rows(path)] == wanted


def test_json_lines_that_are_no_rows_are_told(tmp_path: Path) -> None:
    lines = [b'{"text": "a"}', b"", b"{broken", b"[1]", b"null", b'"w"', b"caf\xe9", b"9" * 5000, b'{"text": "b"}']
    found = rows(written(tmp_path, "a.jsonl", b"\n".join(lines)))
    assert [place for place, _ in found] == [f"a.jsonl:{number}" for number in (1, 3, 4, 5, 6, 7, 8, 9)]
    starts = ["is no JSON", "is JSON, but no object: [1]", "is JSON, but no object: None", "is JSON, but no object: w"]
    for (_, problem), start in zip(found[1:], [*starts, "byte 0xe9 at 3 is not utf-8", "is no JSON"], strict=False):
        assert problem.startswith(start)
    assert [row for _, row in (found[0], found[-1])] == [{"text": "a"}, {"text": "b"}]


def test_a_folder_of_folders_has_their_names_as_labels(tmp_path: Path) -> None:
    for name, text in {"tech/b.txt": "two", "sport/a.txt": "one", "sport/notes.md": "", "top.txt": ""}.items():
        written(tmp_path, name, text)
    written(tmp_path, "tech/c.txt", b"\xff")
    good, also, (place, problem) = rows(tmp_path)
    assert good == ("sport/a.txt", {"text": "one", "label": "sport"})
    assert also == ("tech/b.txt", {"text": "two", "label": "tech"})
    assert place == "tech/c.txt"
    assert problem.startswith("byte 0xff at 0")


def test_a_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    assert "holds no class folders of .txt files (LABEL/NAME.txt)" in refusal(tmp_path)


def test_a_file_that_is_not_there_is_refused_with_the_near_one(tmp_path: Path) -> None:
    written(tmp_path, "train.csv", "")
    assert refusal(tmp_path / "trian.csv") == (f"data.train: there is no {tmp_path}/trian.csv; did you mean train.csv?")


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, "a.xlsx", ""))
    assert message.startswith("data.train: cannot read a.xlsx; known formats: .csv, .tsv, .jsonl, .ndjson")
