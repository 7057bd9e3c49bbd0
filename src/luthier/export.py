"""What leaves a run: the adapter, the folded model, the proof that they predict what was trained, and the hub."""

import contextlib
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from safetensors import SafetensorError
from transformers import PreTrainedModel

from luthier import files
from luthier.data.places import public_name
from luthier.errors import MethodError, RunError, SelfCheckError
from luthier.methods import Method
from luthier.models.processor import Processor
from luthier.models.quantise import dequantise
from luthier.run import Record, Run
from luthier.tasks import Task

TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}
"""Largest difference of a probability between the trained and the saved model, by how weights are held: folding
adds two numbers of that precision."""
ROUNDED_SCORE, ROUNDED_LOSS = 0.1, 0.2
"""What folding into bf16 may change: a row's probability, and the mean loss of a token over all rows, in nats. A single
row's loss is no measure: of a few tokens it moves by 0.6, as every sum is rounded anew; the mean of eight such rows, by
0.06. An update of SmolLM2 that is lost as a whole moves it by 0.65."""
NUM_CHECKED = 32
"""Rows that the self-check predicts again."""


def save(run: Run, task: Task, method: Method, model: PreTrainedModel, processor: Processor) -> None:
    """Write `adapter/` and, where the method folds, `model/`; the model in memory is folded by it, and made plain."""
    if method.keeps_apart:
        with files.new_folder(run.adapter_folder) as folder:
            method.save(model, folder)
            made_with = json.loads((run.folder / "environment.json").read_text())
            method.tell(folder, public_name(run.recipe.model.name), made_with["model_sha256"])
    try:
        method.fold(model)
    except MethodError:
        return  # a method without a plain form is opened through luthier.load
    dequantise(model)
    model.config.use_cache = True
    with files.new_folder(run.model_folder) as folder, _disk_told(run.model_folder):
        method.write(model, task, folder)
        processor.save_pretrained(folder)
        task.write_beside(model, folder)


@contextlib.contextmanager
def _disk_told(folder: Path) -> Iterator[None]:
    """safetensors hides the disk's refusal in an error of its own."""
    try:
        yield
    except SafetensorError as error:
        raise RunError(f"{folder}: cannot be written: {error}; make room and say luthier resume") from error


def rows_to_check(task: Task, rows: Dataset) -> Dataset:
    """The first rows of a split; without targets, unless the check needs them.

    A generated text may turn at any word on a rounding, so tasks that generate are checked by the loss of each row.
    """
    targets = {column.name for layout in task.layouts() for column in layout.columns if column.target}
    chosen = rows.select(range(min(NUM_CHECKED, len(rows))))
    return chosen if task.generates else chosen.remove_columns(sorted(targets & set(rows.column_names)))


def folded(run: Run, expected: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]]) -> Record:
    """What folding into weights of few bits changed of some answers.

    Returns the log's record. Raises SelfCheckError where it is more than rounding.
    """
    if run.recipe.task.generates:
        difference, rounding = abs(_mean_loss(found) - _mean_loss(expected)), ROUNDED_LOSS
    else:
        difference, rounding = _difference(list(found), list(expected)), ROUNDED_SCORE
    tolerance = rounding if run.recipe.model.dtype == "bfloat16" else TOLERANCE["float32"]
    passed = difference <= tolerance
    record = run.log("folded", rows=len(expected), difference=min(difference, sys.float_info.max), passed=passed)
    if not passed:
        raise SelfCheckError(
            f"{run.folder}: the folded model differs from the trained one by {difference:.2g} "
            f"(at most {tolerance:g} is rounding); do not use it, and please report this"
        )
    return record


def self_check(run: Run, rows: Dataset, expected: Sequence[dict[str, Any]]) -> Record:
    """Answer again from the saved files, in a fresh process, with the command a user would type.

    Returns the log's record. Raises SelfCheckError where the answers differ by more than rounding.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, told = Path(folder) / "rows.jsonl", Path(folder) / "answers.jsonl"
        asked.write_text("".join(json.dumps(row) + "\n" for row in rows.to_list()))
        command = [sys.executable, "-m", "luthier", "predict", str(run.folder), "--file", str(asked)]
        how = ["--output", str(told), "--device", run.recipe.training.device]
        how += ["--losses"] if run.recipe.task.generates else []
        done = subprocess.run([*command, *how], capture_output=True, text=True)
        found = [json.loads(line) for line in told.read_text().splitlines()] if done.returncode == 0 else []
    tolerance = TOLERANCE["bfloat16" if run.recipe.model.dtype == "bfloat16" else "float32"]
    difference = _difference(found, list(expected))
    passed = difference <= tolerance
    record = run.log("self-check", rows=len(rows), difference=min(difference, sys.float_info.max), passed=passed)
    if done.returncode != 0:
        raise SelfCheckError(f"{run.folder}: the saved model cannot be used:\n{done.stderr.strip()[-2000:]}")
    if not passed:
        raise SelfCheckError(
            f"{run.folder}: the saved model differs from the trained one by {difference:.2g} "
            f"(at most {tolerance:g} is rounding); do not use it, and please report this"
        )
    return record


def published(run: Run) -> Path:
    """What others get: the plain model, or what was learnt where the method has no plain form."""
    return run.model_folder if run.model_folder.is_dir() else run.adapter_folder


def push(run: Run, name: str, *, private: bool = True) -> str:
    """Upload the model, or the adapter where there is no model, with its card; -> its address.

    Raises RunError where the hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    folder = published(run)
    api = HfApi()
    try:
        url = api.create_repo(name, private=private, exist_ok=True)
        api.upload_file(path_or_fileobj=run.folder / "README.md", path_in_repo="README.md", repo_id=name)
        api.upload_folder(folder_path=folder, repo_id=name, commit_message="Upload by Luthier")
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise RunError(f"{name}: the hub refused: {str(error).splitlines()[0]} (hf auth login?)") from error
    return str(url)


def _mean_loss(answers: Sequence[dict[str, Any]]) -> float:
    """Of a token, over all rows."""
    count = sum(each["count"] for each in answers)
    return float(sum(each["loss"] * each["count"] for each in answers) / max(count, 1))


def _difference(found: Any, expected: Any) -> float:
    """Largest difference of two answers' numbers; infinite where they are not of one form."""
    if isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        return max(map(_difference, found, expected), default=0.0)
    if isinstance(expected, dict) and isinstance(found, dict) and found.keys() == expected.keys():
        if "embedding" in expected:  # whose numbers have no scale of their own
            length = max(1.0, math.hypot(*expected["embedding"]))
            return _difference(found["embedding"], expected["embedding"]) / length
        # Labels follow from the scores: two that are equal to rounding may change places.
        compared = {"scores"} if "scores" in expected else expected.keys()
        return max((_difference(found[key], expected[key]) for key in compared), default=0.0)
    if isinstance(expected, float | int) and isinstance(found, float | int):
        return abs(found - expected)
    return 0.0 if found == expected else float("inf")
