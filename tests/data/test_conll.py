"""CoNLL files: sentences, the lines they begin in, and what is wrong with them."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.formats import conll
from luthier.data.formats.conll import read_conll
from luthier.data.read import read


def rows(folder: Path, content: str | bytes, name: str = "a.conll", encoding: str = "utf-8") -> list[Any]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read(str(path), "train", encoding=encoding, where="data.train"))


def sentence(*words: str) -> dict[str, list[str]]:
    return {"tokens": [word.split("/")[0] for word in words], "tags": [word.split("/")[1] for word in words]}


def test_a_sentence_stands_in_the_line_it_begins_in(tmp_path: Path) -> None:
    content = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n\n  \nPeter NNP B-NP B-PER"
    assert rows(tmp_path, content) == [
        ("a.conll:3", sentence("EU/B-ORG", "rejects/O")),
        ("a.conll:8", sentence("Peter/B-PER")),
    ]


@pytest.mark.parametrize("name", ["a.conll", "a.CONLL03", "a.bio", "a.iob", "a.conll.gz"])
def test_every_ending_is_known_compressed_too(tmp_path: Path, name: str) -> None:
    content = b"EU B-ORG\r\nis O\r\n\r\n"
    found = rows(tmp_path, gzip.compress(content) if name.endswith(".gz") else content, name)
    assert found == [(f"{name}:1", sentence("EU/B-ORG", "is/O"))]


def test_a_token_may_hold_blanks_where_tabs_part_columns(tmp_path: Path) -> None:
    assert rows(tmp_path, "New York\tB-LOC\n1\u00a0000\tO\n")[0][1] == sentence("New York/B-LOC", "1\u00a0000/O")
    assert rows(tmp_path, "1\u00a0000   O  \n")[0][1] == sentence("1\u00a0000/O")


def test_comments_are_skipped_and_words_that_begin_alike_are_not(tmp_path: Path) -> None:
    content = "# sent_id = 1\n# a heading\n#home O\n# O\nnow O\n\n# O\n\n# text = # O\n\n# two words\nlast O\n"
    assert rows(tmp_path, content) == [
        ("a.conll:3", sentence("#home/O", "#/O", "now/O")),
        ("a.conll:7", sentence("#/O")),
        ("a.conll:12", sentence("last/O")),
    ]


def test_words_alone_have_no_tags(tmp_path: Path) -> None:
    assert rows(tmp_path, "EU\nis\n") == [("a.conll:1", {"tokens": ["EU", "is"]})]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b"two x O", "line 3 has 3 columns, but the file has 2"),
        (b"two", "line 3 has 1 column, but the file has 2"),
        (b"caf\xe9 O", "line 3: byte 0xe9 at 3 is not utf-8 (say data.encoding, e.g. latin-1)"),
    ],
)
def test_a_bad_line_costs_its_sentence(tmp_path: Path, lines: bytes, message: str) -> None:
    found = rows(tmp_path, b"one O\nfine O\n" + lines + b"\nmore O\n\nlast O\n")
    assert found == [("a.conll:1", message), ("a.conll:6", sentence("last/O"))]


def test_a_line_or_a_sentence_without_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows(tmp_path, "w" * 8_000_001 + " O\n\nlast O\n")
    assert found[0] == ("a.conll:1", "line 1: the line has more than 8,000,000 characters")
    monkeypatch.setattr(conll, "LONGEST_LINE", 20)
    assert "a blank line must part sentences" in rows(tmp_path, "one O\n" * 9)[0][1]


WORD = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1).filter(
    lambda word: not word.startswith(("#", "-DOCSTART-"))
)


@given(st.lists(st.lists(st.tuples(WORD, WORD), min_size=1), min_size=1, max_size=5), st.sampled_from([" ", "\t"]))
def test_what_is_written_is_read(tmp_path_factory: Any, sentences: Any, blank: str) -> None:
    path = tmp_path_factory.mktemp("conll") / "a.conll"
    content = "\n".join("".join(f"{word}{blank}{tag}\n" for word, tag in each) for each in sentences)
    path.write_text(content, encoding="utf-8", newline="")
    found = [row for _, row in read_conll(path, "utf-8")]
    assert found == [{"tokens": [w for w, _ in each], "tags": [t for _, t in each]} for each in sentences]
