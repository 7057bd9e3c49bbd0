"""A whole run on a tiny model, for the tests of what comes after training."""

import csv
from pathlib import Path
from typing import Any

from luthier.run import Record, Run
from tests.tiny import separable, tiny, tokenizer


def tiny_model(folder: Path, family: str = "bert", **settings: Any) -> Path:
    """A base model with its tokenizer on disk."""
    tiny(family, head="base", **settings).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def write_rows(path: Path, num_rows: int = 90) -> Path:
    """A CSV whose texts tell their labels; an own word in each keeps them apart."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number, row in enumerate(separable(num_rows)):
            writer.writerow([f"{row['text']} w{10 + number % 50} w{10 + number // 50}", row["label"]])
    return path


def tiny_run(folder: Path, *, method: Any = "full", **settings: Any) -> tuple[Run, list[Record]]:
    """A finished run on those rows, and every record it told."""
    import luthier

    records: list[Record] = []
    arguments: dict[str, Any] = {
        "model": str(tiny_model(folder / "base")),
        "data": {"train": str(write_rows(folder / "rows.csv")), "test": 0.2},
        "task": "text-classification",
        "method": method,
        "training": {"epochs": 8, "batch_size": 8, "learning_rate": 5e-3, "precision": "fp32", "seed": 1},
        "output": folder / "run",
    }
    return luthier.tune(**arguments | settings, on_record=records.append), records
