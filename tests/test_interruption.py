"""A whole run that is stopped, killed, or met by a second one: nothing is lost, and what to do is said."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import luthier
from luthier import recipe as recipes
from luthier.claim import claimed
from luthier.errors import NotFinite, RunError, TrainingError
from luthier.evaluation import bootstrap, score
from luthier.files import LOCK
from luthier.interrupt import Interrupted, Stop
from luthier.pipeline import follow
from luthier.run import Record, Run
from luthier.training import loop
from tests.runs import tiny_model, write_rows


@pytest.fixture(autouse=True, scope="module")
def _intervals_as_in_processes_of_their_own() -> Iterator[None]:
    """Runs of this process and of others are compared: their intervals, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score, "interval", bootstrap.interval)
        yield


def write_recipe(folder: Path, name: str = "run", **training: Any) -> Path:
    """A recipe of 96 steps; its model and rows lie beside it."""
    if not (folder / "base").exists():
        tiny_model(folder / "base")
        write_rows(folder / "rows.csv", 160)
    settings = {"steps": 96, "batch_size": 8, "learning_rate": 5e-3, "precision": "fp32", **training}
    raw = {
        "model": str(folder / "base"),
        "data": {"train": str(folder / "rows.csv"), "test": 0.2},
        "task": "text-classification",
        "training": settings,
        "output": str(folder / name),
    }
    path = folder / f"{name}.yaml"
    path.write_text(recipes.dump(recipes.check(raw)))
    return path


def steps_of(run: Run) -> list[dict[str, Any]]:
    """What the log says of learning, without clocks."""
    told = ("event", "step", "loss", "grad_norm", "f1-macro", "best", "epoch")
    kept = [record for record in run.records if record["event"] in ("step", "evaluation", "trained")]
    return [{key: record[key] for key in told if key in record} for record in kept]


def test_a_run_killed_at_twenty_random_moments_ends_as_the_calm_one(tmp_path: Path) -> None:
    calm = write_recipe(tmp_path, "calm", checkpoint_every=3, log_every=5)
    luthier.train(recipes.read(calm))
    path = write_recipe(tmp_path, "killed", checkpoint_every=3, log_every=5)
    command = [sys.executable, "-m", "tests.training.killed", str(path), "20", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "20"
    ours, theirs = (luthier.load(tmp_path / name) for name in ("calm", "killed"))
    files = [(run.model_folder / "model.safetensors").read_bytes() for run in (ours, theirs)]
    assert files[0] == files[1]
    assert steps_of(ours) == steps_of(theirs)
    assert ours.metrics == theirs.metrics
    assert not theirs.checkpoint_folder.exists()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_stops_a_run_with_a_checkpoint_and_the_command_that_resumes(name: str, tmp_path: Path) -> None:
    path, number = write_recipe(tmp_path, steps=5000), getattr(signal, name)
    command = [sys.executable, "-m", "luthier", "train", str(path), "training.log_every=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("20/"):
                break
        process.send_signal(number)
        _, told = process.communicate()
    assert process.returncode == 128 + number
    assert told.count("\n") == 1
    assert told.endswith(f"go on with: luthier resume {tmp_path / 'run'}\n")
    stopped = int(told.split("after step ")[1].split()[0])
    assert (tmp_path / "run" / "checkpoints" / f"step-{stopped}").is_dir()
    with pytest.raises(RunError, match="go on with: luthier resume"):
        luthier.load(tmp_path / "run")


def test_a_second_signal_stops_at_once_and_corrupts_nothing(tmp_path: Path) -> None:
    path, stop = write_recipe(tmp_path, checkpoint_every=2), Stop()
    line = follow(recipes.read(path), stop=stop)
    with stop.listening(), pytest.raises(Interrupted, match="stopped by SIGTERM") as caught:
        list(map(_send_twice, line))
    line.close()  # pytest holds on to the traceback, and so to the lock
    assert caught.value.exit_code == 143
    calm = luthier.train(recipes.read(write_recipe(tmp_path, "calm")))
    again = luthier.train(recipes.read(path), resume=True)
    assert steps_of(calm)[-1] == steps_of(again)[-1]
    assert calm.metrics == again.metrics


def _send_twice(record: Record) -> None:
    if record["event"] == "checkpoint":
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop().listening():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_two_runs_on_one_folder_are_refused_and_a_stale_lock_is_taken_over(tmp_path: Path) -> None:
    with claimed(tmp_path / "run"):
        for how in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(RunError, match=rf"in use by process {os.getpid()}"), claimed(tmp_path / "run", **how):
                pass
    (tmp_path / "run" / LOCK).write_text("999999")  # as one that was killed leaves it
    with claimed(tmp_path / "run") as run:
        assert run.id


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, steps=4)
    luthier.train(recipes.read(path))
    before = (tmp_path / "run" / "log.jsonl").read_bytes()
    (tmp_path / "run" / "checkpoints" / "step-4").mkdir(parents=True)  # killed while it cleared up
    assert [record["event"] for record in follow(recipes.read(path), resume=True)] == ["done"]
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == before
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_no_library_that_catches_errors_swallows_a_signal() -> None:
    with Stop().listening(), pytest.raises(Interrupted), contextlib.suppress(Exception):
        signal.raise_signal(signal.SIGTERM)


def test_a_base_model_that_was_moved_is_known_by_its_content(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, checkpoint_every=2, steps=6)
    stop_after(path, 4)
    (tmp_path / "base").rename(tmp_path / "moved")
    records = list(follow(recipes.read(path, [f"model.name={tmp_path / 'moved'}"]), resume=True))
    assert [r["step"] for r in records if r["event"] == "begins"] == [4]


def stop_after(path: Path, step: int) -> None:
    """Leave a run after a step's checkpoint, as a kill does."""
    line = follow(recipes.read(path))
    for record in line:
        if record["event"] == "checkpoint" and record["step"] == step:
            line.close()


def test_other_settings_rows_or_weights_are_refused_by_name(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, checkpoint_every=2)
    stop_after(path, 4)
    for override, named in (
        ("training.learning_rate=1e-3", r"training\.learning_rate was 0\.005, now it is 0\.001"),
        ("method=lora", r"method\.kind was full, now it is lora"),
        ("training.seed=1", "the train rows have changed"),
    ):
        with pytest.raises(RunError, match=rf"(?s){named}.*--accept-changes"):
            list(follow(recipes.read(path, [override]), resume=True))
    rows = (tmp_path / "rows.csv").read_text()
    (tmp_path / "rows.csv").write_text(rows.replace("w0 w0 w10 w10", "w0 w0 w10 w11"))
    with pytest.raises(RunError, match=r"the (train|test|validation) rows have changed"):
        list(follow(recipes.read(path), resume=True))
    (tmp_path / "rows.csv").write_text(rows)
    records = list(follow(recipes.read(path, ["training.learning_rate=1e-3"]), resume=True, accept_changes=True))
    assert [r["step"] for r in records if r["event"] == "begins"] == [4]
    assert "accepted: training.learning_rate was" in next(r for r in records if r["event"] == "model")["notes"][0]


def test_a_run_that_is_to_be_shorter_than_it_is_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, checkpoint_every=2)
    stop_after(path, 4)
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir() if file.is_file()}
    with pytest.raises(RunError, match="come to step 4, but has 3 steps now"):
        list(follow(recipes.read(path, ["training.steps=3"]), resume=True, accept_changes=True))
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir() if file.is_file()} == before
    longer = list(follow(recipes.read(path, ["training.steps=7"]), resume=True, accept_changes=True))
    assert next(r for r in longer if r["event"] == "trained")["steps"] == 7
    assert Run.open(tmp_path / "run").recipe.training.steps == 7


def test_other_versions_and_devices_are_told(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, checkpoint_every=2, steps=6)
    stop_after(path, 4)
    file = tmp_path / "run" / "environment.json"
    made_with = json.loads(file.read_text())
    made_with["versions"]["torch"] = "1.0"
    file.write_text(json.dumps(made_with))
    records = list(follow(recipes.read(path, ["training.log_every=1"]), resume=True))
    (note,) = next(r for r in records if r["event"] == "model")["notes"]
    assert note.startswith("torch was 1.0, now it is 2.")


def test_a_log_that_was_cut_off_in_a_line_goes_on(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, checkpoint_every=2, steps=6)
    stop_after(path, 4)
    with (tmp_path / "run" / "log.jsonl").open("a") as file:
        file.write('{"event": "st')
    list(follow(recipes.read(path), resume=True))
    assert Run.open(tmp_path / "run").records[-1]["event"] == "done"


def test_a_disk_that_is_full_is_one_message_and_the_run_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_recipe(tmp_path, checkpoint_every=2, steps=6, log_every=1)
    log = Run.log

    def full(run: Run, event: str, **fields: Any) -> Record:
        if fields.get("step") == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run.folder / "log.jsonl"))
        return log(run, event, **fields)

    monkeypatch.setattr(Run, "log", full)
    with pytest.raises(RunError, match=r"log\.jsonl: No space left.*luthier resume"):
        list(follow(recipes.read(path)))
    monkeypatch.setattr(Run, "log", log)
    records = list(follow(recipes.read(path), resume=True))
    assert [r["step"] for r in records if r["event"] == "begins"] == [4]


def test_memory_that_ran_out_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("luthier.training.loop._backward", hungry)
    with pytest.raises(TrainingError, match=r"memory.*training\.checkpointing.*method"):
        list(follow(recipes.read(write_recipe(tmp_path, steps=2))))


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_read(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    for output, told in ((tmp_path / "rows.csv" / "run", "Not a directory"), ("/proc/run", "cannot be written")):
        with pytest.raises(RunError, match=told):
            list(follow(recipes.read(path, [f"output={output}"])))


def test_a_loss_that_is_no_number_names_the_files_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backward = loop._backward

    def poisoned(*arguments: Any) -> Any:
        total, count = backward(*arguments)
        return total * float("nan"), count

    monkeypatch.setattr(loop, "_backward", poisoned)
    with pytest.raises(NotFinite, match=r"(?s)step 1: the loss .*The step's rows: rows\.csv:\d+, rows\.csv:\d+"):
        list(follow(recipes.read(write_recipe(tmp_path, steps=2))))
