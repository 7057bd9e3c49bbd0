"""Schemes of tags against seqeval's readings of them, windows against their definition, and rows as they are read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB1, IOB2, IOBES, Entities

from luthier.data.columns import BadRow
from luthier.data.source import DataSource
from luthier.data.splits import load
from luthier.errors import DataError
from luthier.tasks._sentences import read_spans, read_words, sentence_of, tags_of
from luthier.tasks._tags import (
    as_iob2,
    entities,
    guess_scheme,
    illegal,
    model_tags,
    pairs_of,
    split,
    strict_entities,
)
from luthier.tasks._windows import windows
from luthier.tasks.token_classification import TokenClassification

SEQEVAL = {"iob1": IOB1, "iob2": IOB2, "bioes": IOBES}
IOB = st.lists(st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]), min_size=1, max_size=12)
ANY = st.lists(st.sampled_from(["O", *(f"{p}-{t}" for p in "BIES" for t in ("PER", "LOC"))]), min_size=1, max_size=12)


@given(ANY)
def test_any_tags_are_read_as_conlleval_reads_them(tags: list[str]) -> None:
    assert [tuple(entity) for entity in entities(tags)] == get_entities(tags)


@given(IOB)
def test_strict_entities_are_seqevals(tags: list[str]) -> None:
    (expected,) = Entities([tags], IOB2).entities
    assert [(e.tag, e.start, e.end - 1) for e in expected] == [tuple(entity) for entity in strict_entities(tags)]


@given(IOB)
def test_written_as_iob2_entities_are_the_same_and_legal(tags: list[str]) -> None:
    again = as_iob2(entities(tags), len(tags))
    assert entities(again) == strict_entities(again) == entities(tags)
    assert not any(illegal(pair, "iob2") for pair in pairs_of([again]))


def written(found: list[Any], num_words: int, scheme: str) -> list[str]:
    """Entities in another scheme."""
    tags = as_iob2(found, num_words)
    for before, now in zip([None, *found], found, strict=False):
        touches = before is not None and before.type == now.type and before.last + 1 == now.first
        if scheme == "iob1" and not touches:
            tags[now.first] = f"I-{now.type}"
        if scheme in ("bioes", "bilou"):
            last, single = "ES" if scheme == "bioes" else "LU"
            tags[now.last] = f"{single if now.first == now.last else last}-{now.type}"
    return tags


@given(IOB, st.sampled_from(["iob2", "iob1", "bioes", "bilou"]))
def test_every_scheme_says_the_same_and_is_legal(tags: list[str], scheme: str) -> None:
    found = entities(tags)
    other = written(found, len(tags), scheme)
    assert entities(other) == found
    rules = "bioes" if scheme == "bilou" else scheme
    assert not any(illegal(pair, rules) for pair in pairs_of([other]))
    if scheme != "bilou":
        (expected,) = Entities([other], SEQEVAL[scheme]).entities
        assert [(e.tag, e.start, e.end - 1) for e in expected] == [tuple(entity) for entity in found]


@pytest.mark.parametrize(
    ("rows", "scheme"),
    [
        ([["B-X", "I-X", "O"]], "iob2"),
        ([["I-X", "I-X", "B-X"]], "iob1"),
        ([["I-X", "O"], ["B-X"]], "iob2"),
        ([["B-X", "E-X", "S-Y"]], "bioes"),
        ([["B-X", "L-X", "U-Y"]], "bioes"),
        ([["S-X"]], "bioes"),
        ([["NN", "VB", "O"]], "plain"),
        ([["S-bar", "NN"]], "plain"),
        ([["B-X", "PER"]], "iob2"),
        ([["O", "O"]], "iob2"),
    ],
)
def test_the_scheme_is_found(rows: list[list[str]], scheme: str) -> None:
    assert guess_scheme(pairs_of(rows)) == scheme


@pytest.mark.parametrize(
    ("tags", "scheme", "legal"),
    [
        (["O", "I-X"], "iob2", False),
        (["B-X", "I-Y"], "iob2", False),
        (["I-X", "B-X"], "iob1", True),
        (["B-X"], "iob1", False),
        (["B-X"], "bioes", False),
        (["B-X", "S-X"], "bioes", False),
        (["B-X", "E-Y"], "bioes", False),
        (["E-X"], "bioes", False),
        (["U-X", "B-X", "I-X", "L-X"], "bioes", True),
        (["I-X", "NN"], "plain", True),
    ],
)
def test_what_is_legal(tags: list[str], scheme: str, legal: bool) -> None:
    assert legal is not any(illegal(pair, scheme) for pair in pairs_of([tags]))


def test_a_type_may_hold_a_hyphen_and_the_model_learns_iob2() -> None:
    assert split("B-geo-loc") == ("B", "geo-loc")
    assert split("U-X") == ("S", "X")
    assert model_tags(("LOC", "PER"), "bioes") == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert model_tags(("NN", "VB"), "plain") == ("NN", "VB")


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(4, 20), st.integers(0, 16))
def test_every_word_is_whole_in_one_window_the_one_that_shows_most_around_it(
    sizes: list[int], capacity: int, stride: int
) -> None:
    stride = min(stride, capacity - 4)
    made = windows(sizes, capacity, stride)
    ends = np.cumsum(sizes)
    total = ends[-1]
    assert [number for w in made for number in range(w.first_word, w.end_word)] == list(range(len(sizes)))
    assert all(w.end - w.start <= capacity for w in made)
    assert len(made) == 1 or total > capacity

    def room(word: int, start: int, end: int) -> float:
        before = np.inf if start == 0 else ends[word] - sizes[word] - start
        return min(before, np.inf if end == total else end - ends[word])

    for own in made:
        for word in range(own.first_word, own.end_word):
            assert room(word, own.start, own.end) >= 0
            assert room(word, own.start, own.end) == max(room(word, w.start, w.end) for w in made)


@given(st.text(max_size=40))
def test_the_words_of_a_text_are_all_that_is_not_blank(text: str) -> None:
    sentence = sentence_of({"text": text})
    assert [text[a:b] for a, b in zip(sentence.starts, sentence.ends, strict=True)] == list(sentence.words)
    assert "".join("".join(sentence.words).split()) == "".join(text.split())


def test_words_end_at_punctuation_and_characters_stand_alone_where_no_blanks_are_written() -> None:
    words = sentence_of({"text": "Dr. O'Neil, 3.5% in東京 हिन्दी"}).words
    assert list(words) == ["Dr", ".", "O", "'", "Neil", ",", "3", ".", "5", "%", "in", "東", "京", "हिन्दी"]


TEXT = "John Smith lives in Berlin."


@pytest.mark.parametrize(
    "spans",
    [
        [{"start": 0, "end": 10, "label": "PER"}, {"start": 20, "end": 26, "label": "LOC"}],
        [[20, 26, "LOC"], [0, 10, "PER"]],
        [{"start": 0, "end": 11, "type": "PER"}, {"start": 19, "end": 26, "entity_group": "LOC", "score": 0.5}],
        '[[0, 10, "PER"], [20, 26, "LOC"]]',
    ],
)
def test_spans_of_every_form_become_tags(spans: Any) -> None:
    read = read_spans({"text": TEXT, "spans": spans})
    assert tags_of(read) == ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]
    assert read_spans(read) == read


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ([0, 99, "PER"], "span 0-99 PER lies outside the text, which has 27 characters"),
        ([-1, 4, "PER"], "span -1-4 PER lies outside the text"),
        ([4, 4, "PER"], "span 4-4 PER holds no character"),
        ([4, 5, "PER"], "span 4-5 PER holds no character but blanks"),
        ([0, 7, "PER"], "span 0-7 PER 'John Sm' cuts the word 'Smith' in two"),
        ([22, 26, "LOC"], "span 22-26 LOC 'rlin' cuts the word 'Berlin' in two"),
        ([0, 4, "B-PER"], "span 0-4 has the label 'B-PER', which is a tag"),
        ([0, 4, ""], "span 0-4 has the label ''; it must be text"),
        ([0, 4], "a span is [0, 4]; it must be {start, end, label}"),
        (["0", 4, "PER"], "a span goes from '0' to 4; both must be whole numbers"),
        ({"begin": 0}, "a span goes from None to None"),
    ],
)
def test_a_span_that_cannot_be_used_is_refused(span: Any, message: str) -> None:
    with pytest.raises(BadRow) as caught:
        read_spans({"text": TEXT, "spans": [span]})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([[0, 10, "PER"], [5, 10, "PER"]], "spans overlap: 0-10 PER 'John Smith' and 5-10 PER 'Smith'"),
        ("[", "spans is '[', which is no JSON"),
        ({"start": 0}, "spans is {'start': 0}; it must be a list"),
    ],
)
def test_spans_that_cannot_be_used_are_refused(spans: Any, message: str) -> None:
    with pytest.raises(BadRow) as caught:
        read_spans({"text": TEXT, "spans": spans})
    assert message in str(caught.value)


def test_numbers_are_tags_by_their_names() -> None:
    read = read_words({"tokens": ["a", "b"], "tags": [1, 0]}, ("O", "B-X"))
    assert read == {"tokens": ["a", "b"], "tags": ["B-X", "O"]} == read_words(read, ("O", "B-X"))


@pytest.mark.parametrize(
    ("tokens", "tags", "message"),
    [
        (["a"], ["O", "O"], "has 2 tags for 1 tokens"),
        (["a", "b"], ["O"], "has 1 tags for 2 tokens"),
        ([], [], "tokens is []; it must be a list of at least one text"),
        ("a b", ["O", "O"], "tokens is 'a b'; it must be a list"),
        (["a", ""], ["O", "O"], "token 1 is empty"),
        (["a", " "], ["O", "O"], "token 1 is blank"),
        (["a", None], ["O", "O"], "token 1 is None, which is no text"),
        (["a", "b\0"], ["O", "O"], "token 1 has a NUL character"),
        (["a", "b"], ["O", 1], "tags are ['O', 1]; they must be all text or all whole numbers"),
        (["a", "b"], ["O", ""], "tag 1 is empty"),
        (["a", "b"], [0, 2], "has the tag 2, but task.labels names those from 0 to 1"),
        (["a"], [-1], "has the tag -1"),
        (["a"], "O", "tags is 'O'; it must be a list"),
    ],
)
def test_words_that_cannot_be_used_are_refused(tokens: Any, tags: Any, message: str) -> None:
    with pytest.raises(BadRow) as caught:
        read_words({"tokens": tokens, "tags": tags}, ("O", "B-X"))
    assert message in str(caught.value)


def test_numbers_without_names_are_refused() -> None:
    with pytest.raises(BadRow, match=r"name the tag of each number, in order, in task\.labels"):
        read_words({"tokens": ["a"], "tags": [1]}, ())


def test_every_bad_row_is_told_with_its_line(tmp_path: Path) -> None:
    files = {
        "a.jsonl": '{"tokens": ["a"], "ner_tags": ["O"]}\n{"tokens": ["a"], "ner_tags": ["O", "O"]}\n',
        "b.jsonl": '{"text": "a b", "entities": []}\n{"text": "a b", "entities": [[0, 9, "X"]]}\n',
        "c.conll": "a O\n\nb\nc O\n",
    }
    told = {
        "a.jsonl": "a.jsonl:2: has 2 tags for 1 tokens",
        "b.jsonl": "b.jsonl:2: span 0-9 X lies outside the text, which has 3 characters",
        "c.conll": "c.conll:3: line 3 has 1 column, but the file has 2",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError) as caught:
            load(DataSource(train=str(tmp_path / name)), TokenClassification().layouts(), seed=0)
        assert f"1 of 2 rows cannot be used:\n  {told[name]}\n" in str(caught.value)
