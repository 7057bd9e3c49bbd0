"""Real weights on real rows, a recipe each: what the model could do before it learnt, and after.

    make models data
    python -m benchmarks.real [RECIPE ...] [--set training.epochs=1 ...]

The peer of each line is the untouched model on the same test rows. Scores have 95 % intervals by bootstrap.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import luthier
from benchmarks._record import RESULTS, Row, keep, row
from luthier import recipe as recipes
from luthier.models.processor import tokenizer_of
from luthier.run import Run

METRICS = {
    "entities": "entity-f1",
    "chat": "perplexity",
    "instruct": "rouge-l",
    "translation": "bleu",
    "speech": "wer",
    "speech-encoder-only": "wer",
}
"""The figure that each recipe's field looks at."""
NUM_ANSWERED = 40
"""Test rows whose answers are looked at for their ends."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=list(METRICS), help="names of files in recipes/")
    parser.add_argument(
        "--set", nargs="*", default=[], help="other settings than the recipe says, as in training.epochs=1"
    )
    parser.add_argument("--told", action="store_true", help="tell of runs that are there; train nothing")
    asked = parser.parse_args()
    for name in asked.recipes:
        rows = measured(name, asked.set, trains=not asked.told)
        others = [each for each in kept() if each["what"].split(":")[0] != name]
        keep("real", [*others, *rows])


def kept() -> list[Row]:
    """What earlier calls measured."""
    path = RESULTS / "real.json"
    found: list[Row] = json.loads(path.read_text())["rows"] if path.is_file() else []
    return found


def measured(name: str, settings: list[str], *, trains: bool) -> list[Row]:
    """A line for each metric of the test rows, the field's own first."""
    asked = ["training.score_before=true", f"output=runs/real/{name}", *settings]
    recipe = recipes.read(Path("recipes") / f"{name}.yaml", asked)
    run = luthier.train(recipe, overwrite=True) if trains else luthier.load(recipe.output)
    cost = {**_cost(run.records), **_endings(run), "settings": settings}
    before, after = run.metrics["before"], run.metrics["test"]
    names = [key for key in after if " of " not in key]
    names.sort(key=lambda key: not key.startswith(METRICS[name]))
    return [_line(name, key, before[key], after[key], cost) for key in names if _is_told(before[key], after[key])]


def _is_told(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Both are defined, and a ratio says something."""
    return all(score["value"] is not None and score["value"] > 0 for score in (before, after))


def _line(name: str, metric: str, before: dict[str, Any], after: dict[str, Any], cost: dict[str, Any]) -> Row:
    lower = metric.startswith(("loss", "perplexity", "wer", "cer", "ter"))
    made = row(
        f"{name}: {metric}",
        after["value"],
        before["value"],
        peer_name="the untouched model",
        unit=metric,
        better="lower" if lower else "higher",
    )
    intervals = {f"{side}_interval": [_short(s["low"]), _short(s["high"])] for side, s in _sides(before, after)}
    return {**made, **intervals, **cost}


def _sides(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [("ours", after), ("peer", before)]


def _short(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 4)


def _endings(run: Run) -> dict[str, int]:
    """Of a model that chats, how many answers to test rows end by themselves rather than at their longest."""
    generation = getattr(run.recipe.task, "generation", None)
    if run.recipe.task.kind() != "causal-lm" or generation is None:
        return {}
    rows, _ = run.read_rows(str(run.recipe.data.test), labelled=False)
    asked = rows.select(range(min(NUM_ANSWERED, len(rows))))
    _, processor = run.load()
    tokens = tokenizer_of(processor)([answer["text"] for answer in run.answer(asked)], add_special_tokens=False)
    ended = sum(len(ids) < generation.max_new_tokens - 1 for ids in tokens["input_ids"])  # the last one is the stop
    return {"answers": len(asked), "answers_that_end": ended}


def _cost(records: list[dict[str, Any]]) -> dict[str, Any]:
    """What was learnt, and what it took."""
    told = {record["event"]: record for record in records}
    sizes = {key: told["model"][key] for key in ("parameters", "trainable")}
    whole = round(records[-1]["time"] - records[0]["time"])
    trained = told["trained"]
    return {**sizes, "steps": trained["steps"], "training_s": round(trained["duration_s"]), "whole_s": whole}


if __name__ == "__main__":
    main()
