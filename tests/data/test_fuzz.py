"""Thousands of damaged JSON Lines files: rows come out, or a DataError that says what is wrong, and nothing else."""

import random
from pathlib import Path

from luthier.component import Facts
from luthier.data.source import DataSource
from luthier.data.splits import load
from luthier.errors import DataError
from luthier.tasks.text_classification import TextClassification

NUM_CASES = 2000
SEEDS = (
    b'{"text": "one", "label": "a"}\n{"text": "two", "label": "b"}\n{"text": "three", "label": "a"}\n',
    b'{"text": "one", "label": 1}\n{"text": "two", "label": 0.5}\n\n{"text": "three", "label": -2e3}',
    b'{"text": "one", "label": ["a", "b"]}\r\n{"text": "two", "label": []}\r\n{"text": "\\u00e9", "label": ["b"]}\r\n',
    '{"sentence1": "é\\ud83d\\ude00", "hypothesis": "😀", "class": true}\n{"sentence1": "w", "class": null}'.encode(),
)
PIECES = (
    *(b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"\n", b"\r", b"\x85", b"\xe2\x80\xa8"),
    *(
        b'"',
        b"'",
        b"\\",
        b"\\ud800",
        b"\\u0000",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b" ",
        b"[" * 2000,
        b'{"a":' * 2000,
    ),
    *(
        b"NaN",
        b"-Infinity",
        b"null",
        b"true",
        b"1e999",
        b"-0",
        b"9" * 30,
        b"9" * 5000,
        b"0.1",
        b'"text"',
        b'"label": 1,',
    ),
    *(b"{}", b'[{"a": []}]', b"w" * 3000, b'"label": {"x": [1]}', b'"text": 7', b'"label": "a"', b"// no", b"\x1f\x8b"),
)


def damaged(chance: random.Random) -> bytes:
    """A good file after one to four cuts, repeats, swaps of bits, or pieces put in."""
    content = bytearray(b"\n".join([chance.choice(SEEDS)] * 3).replace(b"one", b"four", 1).replace(b"two", b"five", 1))
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(content) + 1)
        end = min(len(content), start + chance.choice((0, 1, 1, 5, 40)))
        kind = chance.randrange(4)
        if kind == 0:
            content[start:end] = b""
        elif kind == 1:
            content[start:start] = content[start:end] * chance.randint(1, 3)
        elif kind == 2 and start < len(content):
            content[start] ^= 1 << chance.randrange(8)
        else:
            content[start:end] = chance.choice(PIECES)
    return bytes(content)


def test_whatever_a_file_holds_rows_or_a_data_error_come_out(tmp_path: Path) -> None:
    chance, refusals = random.Random(0), []
    for number in range(NUM_CASES):
        path = tmp_path / f"{number}.jsonl"  # to write one file again and again takes a disk longer
        path.write_bytes(damaged(chance))
        data = DataSource(
            train=str(path),
            validation=chance.choice((None, 0.3)),
            bad_rows=chance.choice(("fail", "skip")),
            encoding=chance.choice(("utf-8",) * 8 + ("latin-1", "utf-16", "ascii")),
        )
        try:
            splits = load(data, TextClassification().layouts(), seed=0)
            task = TextClassification().resolve(Facts(train=splits.train))
            for name, rows in splits.named().items():
                task.require_targets(rows, name)
        except DataError as error:
            refusals.append(str(error))
        path.unlink()
    assert NUM_CASES * 0.1 < len(refusals) < NUM_CASES * 0.9
    assert len(max(refusals, key=len)) < 4000
