"""tools/fetch: what is kept of packaged rows, and how it is split; on rows made by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from tools.fetch import choices, conll, dialogues, questions, speech, translation
from tools.fetch._rows import divided, gist, read_json_lines, split_of, write_json_lines


def test_a_key_has_one_split_and_shares_are_kept():
    counts = {"train": 0, "validation": 0, "test": 0}
    for number in range(5_000):
        counts[split_of(f"key {number}", validation=0.1, test=0.2)] += 1
    assert counts["test"] == pytest.approx(1_000, abs=100)
    assert counts["validation"] == pytest.approx(500, abs=75)


def test_rows_that_share_a_key_stay_together_and_in_order():
    rows = [{"text": str(number), "key": str(number % 50)} for number in range(500)]
    splits = divided(rows, lambda row: row["key"], validation=0.3, test=0.3)
    keys = [{row["key"] for row in split} for split in splits.values()]
    assert sum(map(len, keys)) == len(set.union(*keys)) == 50
    assert all(
        [int(row["text"]) for row in split] == sorted(int(r["text"]) for r in split) for split in splits.values()
    )


def test_json_lines_are_read_as_they_were_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [{"text": "one\u2028line"}, {"text": "zwei Zeilen\nö"}]
    write_json_lines(tmp_path / "rows.jsonl", rows)
    assert read_json_lines(tmp_path / "rows.jsonl") == rows
    assert capsys.readouterr().out == f"{tmp_path / 'rows.jsonl'}: 2 rows\n"


def test_the_gist_of_a_text_has_neither_case_nor_numbers():
    assert gist("Open 3 files, NOW!") == gist("open files now")


def test_only_plain_sentences_are_translated_and_each_once():
    catalogue = [
        ("Open the chosen file.", "Abrir o arquivo escolhido."),
        ("Open the chosen file.", "Abra o arquivo escolhido."),
        ("Please open that file.", "Abrir o arquivo escolhido."),
        ("Open file", "Abrir arquivo"),
        ("Open %1 of all files", "Abrir %1 de todos"),
        ("Three words _and more", "Três palavras e mais"),
        ("Left as it was", "Left as it was"),
        ("One line\nand one more", "Uma linha\ne outra"),
    ]
    assert list(translation.pairs(iter(catalogue))) == [
        {"source": "Open the chosen file.", "target": "Abrir o arquivo escolhido."}
    ]


def test_catalogues_are_read_without_contexts_and_plurals(tmp_path: Path):
    entries = {"": "Content-Type: text/plain; charset=UTF-8\n", "menu\4Open a file": "Datei öffnen"}
    (tmp_path / "a.mo").write_bytes(catalogue(entries))
    assert ("Open a file", "Datei öffnen") in list(translation.read(tmp_path))


def catalogue(entries: dict[str, str]) -> bytes:
    """A .mo file: a header, the tables of keys and of values, then their texts, each ended by a NUL."""
    texts = [text.encode() for table in zip(*sorted(entries.items()), strict=True) for text in table]
    offset, tables = 28 + 8 * len(texts), b""
    for text in texts:
        tables += len(text).to_bytes(4, "little") + offset.to_bytes(4, "little")
        offset += len(text) + 1
    numbers = (0x950412DE, 0, len(entries), 28, 28 + 8 * len(entries), 0, 0)
    header = b"".join(number.to_bytes(4, "little") for number in numbers)
    return header + tables + b"".join(text + b"\0" for text in texts)


def test_dialogues_alternate_and_end_with_the_assistant():
    found = [
        ("conversations", ["Hello", "Hi", "How are you?"]),
        ("computers", ["What is a computer?", "A device.", "A machine."]),
        ("humor", ["hello!", "Another answer"]),
        ("trivia", ["Alone"]),
        ("trivia", [str(number) for number in range(30)]),
    ]
    turns = [[(m["role"], m["content"]) for m in row["messages"]] for row in dialogues.rows(found)]
    assert turns == [
        [("user", "Hello"), ("assistant", "Hi")],
        [("user", "What is a computer?"), ("assistant", "A device.")],
    ]


def test_an_answer_becomes_the_number_of_its_choice():
    options = "\nA. bank\nB. library\nC. shop\nD. mall\nE. park?"
    rows = [
        {"question": "Where?", "options": options, "answer": "E. park"},
        {"question": "Odd?", "options": "\nA. bank\nB. park", "answer": "B. park"},
    ]
    assert list(choices.rows(rows)) == [
        {"question": "Where?", "choices": ["bank", "library", "shop", "mall", "park"], "answer": 4}
    ]


def test_articles_are_never_torn_apart():
    articles = ["a X X O", "b X X O\n\nc X X O", "d X X O", "e X X O"]
    splits = conll.split("".join(conll.MARK + article + "\n\n" for article in articles), train=0.6, validation=0.2)
    assert splits == {"train": articles[:2], "validation": [articles[2]], "test": [articles[3]]}


def test_an_answer_is_kept_where_it_stands_exactly_once():
    context = "The art of Bartók was new. New art came, and he left in 1940."
    given = ["art", "1940.", "Bart", "left", "London"]
    assert questions.places(given, context) == {"text": ["1940", "left"], "answer_start": [56, 48]}


def test_questions_without_an_answer_say_so_and_unsure_ones_are_left_out():
    asked = [
        {"question": "When?", "passage": "It was 1940.", "answer": "1940"},
        {"question": "Why?", "passage": "It was 1940.", "answer": "unknown"},
        {"question": "Who?", "passage": "It was 1940.", "answer": ["He."]},
    ]
    rows = list(questions.rows("some-qa", asked))
    assert [row["id"] for row in rows] == ["some-qa-0", "some-qa-1"]
    assert [row["answers"]["answer_start"] for row in rows] == [[7], []]
    assert json.loads(json.dumps(rows)) == rows


def test_sentences_of_words_alone_are_spoken_in_an_order_that_stays():
    texts = ["Where would you put it? I am 3 years old now.", "What do people aim to do?", "Short one."]
    found = speech.sentences(texts)
    assert sorted(found) == ["What do people aim to do?", "Where would you put it?"]
    assert found == speech.sentences(texts[::-1])


@pytest.mark.parametrize("snr_db", [5, 20])
def test_noise_has_the_stated_ratio(snr_db: float):
    tone = np.sin(np.arange(32_000) / 7).astype(np.float32)
    mixed = speech.with_noise(tone, snr_db, seed=1).astype(np.float64)
    scale = (mixed @ tone) / (tone @ tone)
    noise = mixed - scale * tone
    assert 10 * np.log10(np.mean((scale * tone) ** 2) / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.2)
    assert np.array_equal(mixed, speech.with_noise(tone, snr_db, seed=1))
    assert not np.array_equal(mixed, speech.with_noise(tone, snr_db, seed=2))
