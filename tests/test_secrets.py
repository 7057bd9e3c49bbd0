"""A secret of the environment, or one typed into an address, never reaches a screen, a log or a run's folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.errors import LuthierError, RecipeError, redacted
from luthier.recipe import parse
from tests.runs import tiny_model, write_rows

CANARY = "canary7Qx93kLm"
SECRETS = {name: f"{CANARY}-{name}" for name in ("HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD")}
ADDRESS = f"https://user:{CANARY}@host/x"


def luthier(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, with the secrets in its environment."""
    environment = {**os.environ, **SECRETS, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "luthier", *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)


def holding(folder: Path) -> list[str]:
    """Files below a folder that hold the canary."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path.name for path in files if CANARY.encode() in path.read_bytes()]


def test_a_whole_run_holds_no_secret(tmp_path: Path) -> None:
    base, rows = tiny_model(tmp_path / "base"), write_rows(tmp_path / "rows.csv")
    options = ("--model", base, "--data", rows, "--task", "text-classification", "--output", "run")
    done = luthier(tmp_path, "train", "training.epochs=1", "data.test=0.2", *options)
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert (tmp_path / "run" / "report.html").is_file()
    assert holding(tmp_path) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--model", ADDRESS, "--data", "a.csv", "--task", "text-classification"),
        ("train", "--model", "m", "--data", ADDRESS, "--task", "text-classification"),
        ("train", f"model={ADDRESS}", "data=a.csv", "task=text-classification"),
        ("train", "--model", "m", "--data", "a.csv", "--task", "text-classification", "--output", ADDRESS),
        ("train", "--model", "m", "--data", "a.csv", "--task", "text-classification", f"data.columns.text={ADDRESS}"),
        ("train", ADDRESS),
        ("train", "mine.yaml"),
        ("evaluate", ADDRESS, ADDRESS),
        ("predict", ADDRESS, "text"),
        ("runs", ADDRESS),
        ("describe", ADDRESS),
    ],
)
def test_a_mistake_with_a_password_is_told_without_it(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "mine.yaml").write_text(f"[{ADDRESS}")
    done = luthier(tmp_path, *arguments)
    assert done.returncode == 2
    assert CANARY not in done.stdout + done.stderr
    assert done.stderr.startswith("luthier: ")
    assert set(holding(tmp_path)) <= {"mine.yaml"}


@pytest.mark.parametrize(
    "text",
    [
        f"model: {ADDRESS}\ndata: a.csv\ntask: text-classification\n",
        f"model: m\ndata: {{train: a.csv, test: '{ADDRESS}'}}\ntask: text-classification\n",
        f"model: m\ndata: {{train: a.csv, columns: {{'{ADDRESS}': x}}}}\ntask: text-classification\n",
        f"model: m\ndata: a.csv\ntask: {{kind: text-classification, labels: [a, 'https://{CANARY}@host']}}\n",
    ],
)
def test_a_recipe_with_a_password_is_refused_and_told_where_it_belongs(text: str) -> None:
    with pytest.raises(RecipeError, match="hf auth login or the environment variable HF_TOKEN") as caught:
        parse(text)
    assert CANARY not in str(caught.value)


def test_an_address_without_a_password_is_left_as_it_is() -> None:
    assert redacted("see https://host/x, or mail a@b") == "see https://host/x, or mail a@b"


def test_every_error_of_ours_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)

    def kinds(error: type[LuthierError]) -> list[type[LuthierError]]:
        return [error, *(kind for each in error.__subclasses__() for kind in kinds(each))]

    for kind in kinds(LuthierError):
        if kind.__init__ is LuthierError.__init__:
            assert CANARY not in str(kind(f"x {CANARY} {ADDRESS}"))
