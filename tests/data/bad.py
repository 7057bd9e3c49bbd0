"""Bad data of many kinds, each with what is to be said of it; for the tests of the reading, and of the commands."""

import gzip
from dataclasses import dataclass, field
from typing import Any

GOOD = "text,label\none,a\ntwo,b\nthree,a\nfour,b\n"
FAILED = "rows cannot be used:"


@dataclass(frozen=True)
class Bad:
    """Files, the recipe's `data` beside `train`, which is the first file, and a part of the message."""

    files: dict[str, str | bytes]
    message: str
    settings: dict[str, Any] = field(default_factory=dict)


def _csv(row: str | bytes, problem: str, header: str = "text,label", **settings: Any) -> Bad:
    """A CSV file whose third line is bad."""
    bad = row if isinstance(row, bytes) else row.encode()
    content = b"\n".join((header.encode(), b"one,a", bad, b"two,b\n"))
    return Bad({"a.csv": content}, f"1 of 3 {FAILED}\n  a.csv:3: {problem}", settings)


def _jsonl(row: str | bytes, problem: str) -> Bad:
    """A JSON Lines file whose second line is bad."""
    bad = row if isinstance(row, bytes) else row.encode()
    content = b"\n".join((b'{"text": "one", "label": "a"}', bad, b'{"text": "two", "label": "b"}\n'))
    return Bad({"a.jsonl": content}, f"1 of 3 {FAILED}\n  a.jsonl:2: {problem}")


def _test(content: str, message: str) -> Bad:
    return Bad({"a.csv": GOOD, "test.csv": content}, message, {"test": "test.csv"})


BAD: dict[str, Bad] = {
    "broken JSON": _jsonl('{"text": "w", ', "is no JSON: expecting"),
    "JSON that is no object": _jsonl("[1, 2]", "is JSON, but no object: [1, 2]"),
    "a key twice": _jsonl('{"text": "w", "text": "v", "label": "a"}', "has the key text twice"),
    "NaN in JSON": _jsonl('{"text": "w", "label": NaN}', "is no JSON: it has no NaN"),
    "Infinity in JSON": _jsonl('{"text": "w", "label": -Infinity}', "is no JSON: it has no -Infinity"),
    "a number that is none": _jsonl('{"text": "w", "label": 1e999}', "label is inf, which is no finite number"),
    "a number too large": _jsonl(f'{{"text": "w", "label": {10**20}}}', "label is 100000000000000000000, beyond"),
    "text of another type": _jsonl('{"text": 5, "label": "a"}', "text is 5, which is no text"),
    "a label of another type": _jsonl('{"text": "w", "label": {"a": 1}}', "label is {'a': 1}; it must be text"),
    "labels that are not alike": _jsonl('{"text": "w", "label": 1}', "label is a number, but in a.jsonl:1 it is text"),
    "NUL in JSON": _jsonl('{"text": "a\\u0000", "label": "a"}', "text has a NUL character at 1"),
    "half a character": _jsonl('{"text": "a\\ud800", "label": "a"}', "text has half a character (\\ud800) at 1"),
    "a key left out": _jsonl('{"text": "w"}', "label is empty"),
    "null": _jsonl('{"text": null, "label": "a"}', "text is empty"),
    "JSON nested too deep": _jsonl("[" * 9999, "is no JSON: nested too deep"),
    "a byte that is no text in JSON": _jsonl(b'{"text": "caf\xe9", "label": "a"}', "byte 0xe9 at 13 is not utf-8"),
    "a long line in JSON": _jsonl(f'{{"text": "{"w" * 10_000_000}"}}', "the line has more than 8,000,000 characters"),
    "empty text": _csv(",a", "text is empty"),
    "blank text": _csv("  ,a", "text is blank"),
    "a missing label": _csv("w,", "label is empty"),
    "a blank label": _csv("w,  ", "label is blank"),
    "more fields": _csv("w,a,b,c", "has 2 more fields than the header"),
    "fewer fields": _csv("w", "has fewer fields than the header"),
    "NUL in CSV": _csv("w\0,a", "text has a NUL character at 1"),
    "a byte that is no text": _csv(b"caf\xe9,a", "byte 0xe9 at 3 is not utf-8 (say data.encoding, e.g. latin-1)"),
    "a byte that ASCII lacks": _csv("é,a", "byte 0xc3 at 0 is not ascii", encoding="ascii"),
    "a long field": _csv(f"{'w' * 1_000_001},a", "text has 1,000,001 characters; a field has 1,000,000 at most"),
    "a long line": _csv(f"{'w' * 10_000_000},a", "the line has more than 8,000,000 characters"),
    "a stray quote": _csv('"w" v,a', "is no CSV: ',' expected after '\"'"),
    "a quote that is not closed": _csv('w,"a', "opens a quote that is never closed"),
    "two columns of one name": Bad({"a.csv": "text,text,label\na,b,c\n"}, "a.csv:1: two columns are called text"),
    "a header that is no text": Bad(
        {"a.csv": b"t\xe9xt,label\na,b\n"}, "a.csv:1: the header cannot be read: byte 0xe9"
    ),
    "UTF-16 that is not said": Bad({"a.csv": GOOD.encode("utf-16")}, "a.csv: begins as utf-16 does; say data.encoding"),
    "no rows": Bad({"a.csv": "text,label\n"}, "holds no rows"),
    "an empty file": Bad({"a.jsonl": ""}, "holds no rows"),
    "no usable rows": Bad({"a.csv": "text,label\n,a\n"}, "holds no rows that can be used", {"bad_rows": "skip"}),
    "no such file": Bad({"a.csv": GOOD}, "data.test: there is no tset.csv", {"test": "tset.csv"}),
    "no column": Bad({"a.csv": "body,kind\nw,a\n"}, "no column for label; it has body, kind. Say which one it is"),
    "a column that is not there": Bad(
        {"a.csv": GOOD}, "has no column lable; did you mean", {"columns": {"label": "lable"}}
    ),
    "an unknown format": Bad({"a.xlsx": "w"}, "cannot read a.xlsx; known formats: .csv"),
    "an archive": Bad({"a.zip": b"PK\3\4"}, "a.zip is an archive, and none is unpacked"),
    "a pickle": Bad({"a.pkl": b"cos\nsystem\n(S'exit'\ntR."}, "a.pkl may be a pickle, which runs code"),
    "a broken gzip": Bad(
        {"a.csv.gz": gzip.compress(GOOD.encode() * 99)[:-9]}, "a.csv.gz cannot be decompressed to its end"
    ),
    "no gzip": Bad({"a.csv.gz": GOOD}, "a.csv.gz cannot be read"),
    "a broken Parquet file": Bad({"a.parquet": b"PAR1" + b"x" * 99}, "a.parquet: is no Parquet file"),
    "a document that breaks off": Bad({"a.json": '[{"text": "w",'}, "a.json:1: is no JSON from here on"),
    "a document without rows": Bad({"a.json": '{"text": ["w"]}'}, "a.json:1: has no list of objects in it"),
    "a folder without rows": Bad({"folder/a.md": "w"}, "folder holds no class folders of .txt files"),
    "one class": Bad({"a.csv": "text,label\none,a\ntwo,a\n"}, "every row has the label 'a'; there is nothing to tell"),
    "fewer rows than labels": Bad(
        {"a.jsonl": '{"text": "w", "label": ["a", "b", "c"]}\n{"text": "v", "label": []}\n'},
        "data.train: 2 rows are fewer than the 3 labels",
    ),
    "a label a row": Bad(
        {"a.csv": "text,label\n" + "".join(f"w{number},l{number}\n" for number in range(30))},
        "30 different labels in 30 rows; is it the right column",
    ),
    "labels that training lacks": _test(
        "text,label\nfive,c\nsix,a\nseven,c\n",
        "data.test: 2 of 3 rows have labels that the training rows have not:\n  'c' in 2 rows\n",
    ),
    "a share of nothing": Bad(
        {"a.csv": GOOD}, "data.validation: 0.01 of 4 rows leaves a split empty", {"validation": 0.01}
    ),
}
