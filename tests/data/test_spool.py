"""Rows in memory and rows in a file are the same rows; and a file larger than memory is read in little of it."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from luthier.data.spool import Spool, batches, column
from luthier.errors import DataError


def spooled(rows: list[dict[str, Any]], **settings: int) -> Any:
    spool = Spool(**settings)
    for row in rows:
        spool.add(row)
    return spool.finish()


@pytest.mark.parametrize("values", [["a", "bé"], [1, 2], [1, 2.5], [[], ["a"]], [[1], [0.5], []], [True, False]])
@pytest.mark.parametrize("chunk_items", [1, 7, 10**6])
def test_a_file_holds_what_memory_would(values: list[Any], chunk_items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is seen first: whole numbers or fractions, empty lists or full ones."""
    monkeypatch.setattr("luthier.data.spool.CHUNK_BYTES", 0)
    rows = [{"value": value, "number": number} for number, value in enumerate(values * 9)]
    held = spooled(rows)
    monkeypatch.setattr("luthier.data.spool.CHUNK_ITEMS", chunk_items)
    for order in (rows, rows[::-1]):
        table = spooled(order, memory_bytes=0)
        assert table.features == held.features
        assert table.to_list() == order
        assert [row for piece in batches(table) for row in piece["number"]] == [row["number"] for row in order]
        assert list(column(table.select([3, 1]), "value")) == [order[3]["value"], order[1]["value"]]


@pytest.mark.skipif(sys.platform != "linux", reason="writes to /dev/full")
def test_a_full_disk_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "wb"))  # noqa: SIM115
    with pytest.raises(DataError, match=r"cannot be kept in the temporary folder: No space left .* TMPDIR"):
        spooled([{"text": "w" * 1000}] * 100, memory_bytes=0)


MEASURED = """
import os, sys, threading, time

def held():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))

from luthier.data.source import DataSource
from luthier.data.splits import load
from luthier.tasks.text_classification import TextClassification
from luthier.component import Facts
import sklearn.model_selection
from tests.tiny import tokenizer

before, peak, reading = held(), 0, True
def watch():
    global peak
    while reading:
        peak = max(peak, held())
        time.sleep(0.01)
watcher = threading.Thread(target=watch)
watcher.start()
splits = load(DataSource(train=sys.argv[1], validation=0.1), TextClassification().layouts(), seed=0)
task = TextClassification(max_length=8).resolve(Facts(train=splits.train))
task.require_targets(splits.validation, "validation")
reading = False
watcher.join()
left = [name for name in os.listdir(os.environ["TMPDIR"]) if "torch" not in name]
print(peak - before, len(splits.train), splits.place("train", 12345), left)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_file_is_read_in_a_fraction_of_its_size_and_leaves_nothing_behind(tmp_path: Path) -> None:
    words, path = "read me slowly, word by word, for I am long; " * 80, tmp_path / "large.jsonl"
    with path.open("w") as file:
        for number in range(80_000):
            file.write(json.dumps({"text": f"{number} {words}", "label": "ab"[number % 2]}) + "\n")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    grown, num_rows, place, left = done.stdout.split(maxsplit=3)
    assert num_rows == "72000"
    assert place.startswith("large.jsonl:")
    assert left.strip() == "[]"
    assert path.stat().st_size > 290_000_000
    assert int(grown) < path.stat().st_size / 2
