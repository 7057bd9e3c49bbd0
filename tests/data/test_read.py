"""Rows out of files, each with its place; and what is wrong with those that are none."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.formats._lines import LONGEST_LINE
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
        ("a.csv:2", {"text": 'a "b", c\nd', "label": "1"}),
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


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ('"b" c,2', "is no CSV: ',' expected after '\"'"),
        ('x,"never closed', "opens a quote that is never closed"),
        ('"closed by chance,1\na"b,2', "is no CSV: ',' expected after '\"' in line 4"),
    ],
)
def test_a_csv_row_that_is_none_costs_no_other_row(tmp_path: Path, broken: str, problem: str) -> None:
    found = rows(written(tmp_path, "a.csv", f"text,label\na,1\n{broken}\nc,3\n"))
    assert found[0] == ("a.csv:2", {"text": "a", "label": "1"})
    assert found[1] == ("a.csv:3", problem)
    assert found[-1] == (f"a.csv:{len(found) + 1}", {"text": "c", "label": "3"})
    assert all(isinstance(row, dict) for _, row in found[2:])


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
@pytest.mark.parametrize("num_rows", [3, 3000])
def test_a_byte_that_is_no_text_is_told_with_its_own_line(tmp_path: Path, name: str, num_rows: int) -> None:
    row = {"a.csv": b"caf\xe9,1", "a.jsonl": b'{"text": "caf\xe9"}', "a.json": b' {"text": "caf\xe9"},'}[name]
    lines = {"a.csv": [b"text,label"], "a.json": [b"["]}.get(name, []) + [row.replace(b"\xe9", b"e")] * num_rows
    lines[-2] = row
    end = b'\n{"text": "w"}]' if name == "a.json" else b""
    found = rows(written(tmp_path, name, b"\n".join(lines) + end))
    bad = [(place, problem) for place, problem in found if isinstance(problem, str)]
    assert [place for place, _ in bad] == [f"{name}:{len(lines) - 1}"]
    assert re.match(r"byte 0xe9 at \d+ is not utf-8 \(say data.encoding, e.g. latin-1\)", bad[0][1])
    assert len(found) == num_rows + (name == "a.json")


def test_a_header_that_is_no_text_is_refused(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, "a.csv", b"t\xe9xt,label\na,1\n")).startswith("a.csv:1: the header cannot be read")


def test_utf_16_that_is_not_said_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "text,label\nw,1\n".encode("utf-16"))
    assert refusal(path) == "a.csv: begins as utf-16 does; say data.encoding=utf-16"
    assert refusal(written(tmp_path, "b.csv", "ab".encode("utf-16") + b"\x00\xd8\x00"), "utf-16").startswith(
        "b.csv: is not"
    )


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


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("num_characters", [LONGEST_LINE - 100, LONGEST_LINE, 10_000_000, 2 * LONGEST_LINE])
def test_a_line_of_megabytes_is_told_and_the_next_one_read(tmp_path: Path, suffix: str, num_characters: int) -> None:
    long = "w" * num_characters
    texts = {".csv": f"text\n{long}\nw\n", ".jsonl": f'{{"text": "a"}}\n{{"text": "{long}"}}\n{{"text": "w"}}\n'}
    found = rows(written(tmp_path, f"a{suffix}", texts[suffix]))
    assert found[-1] == (f"a{suffix}:3", {"text": "w"})
    assert [type(row) for _, row in found[-2:]] == [dict if num_characters < LONGEST_LINE else str, dict]


def test_a_quote_that_is_not_closed_for_megabytes_costs_its_own_row(tmp_path: Path) -> None:
    found = rows(written(tmp_path, "a.csv", 'text,label\na,"1\n' + f"{'w' * 9000},2\n" * 1000))
    assert found[0] == ("a.csv:2", "opens a quote that is not closed within 8,000,000 characters")
    assert [place for place, row in found if isinstance(row, dict)] == [f"a.csv:{n}" for n in range(3, 1003)]


def test_what_python_reads_as_json_and_is_none_is_told(tmp_path: Path) -> None:
    lines = [
        '{"a": 1, "b": 2, "a": 3}',
        '{"a": NaN}',
        '{"a": [-Infinity]}',
        '{"a": {"b": 1, "b": 1}}',
        "{} {}",
        "[" * 9999,
    ]
    assert [problem for _, problem in rows(written(tmp_path, "a.jsonl", "\n".join(lines)))] == [
        "has the key a twice",
        "is no JSON: it has no NaN; write null, or a number",
        "is no JSON: it has no -Infinity; write null, or a number",
        "has the key b twice",
        "is no JSON: extra data at character 2",
        "is no JSON: nested too deep",
    ]


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, "a.xlsx", ""))
    assert message.startswith("data.train: cannot read a.xlsx; known formats: .csv, .tsv, .jsonl, .ndjson, .json")
