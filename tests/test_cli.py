"""The commands, as a user types them."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.cli import main
from luthier.run import Run
from tests.runs import tiny_model, tiny_run, write_rows
from tests.stub_hub import stub_hub


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny_run(tmp_path_factory.mktemp("run"))[0]


def luthier(*arguments: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_help_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from luthier.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'transformers', 'pydantic'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.usefixtures("processes_of_their_own")
def test_train_needs_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, rows = tiny_model(tmp_path / "base"), write_rows(tmp_path / "rows.csv")
    options = ("--model", base, "--data", rows, "--task", "text-classification", "--output", tmp_path / "run")
    assert luthier("train", "training.epochs=1", "data.test=0.2", *options) == 0
    shown = capsys.readouterr().out
    assert "Scores [95 % interval]" in shown
    assert "loaded again in a fresh process" in shown
    assert Run.open(tmp_path / "run").recipe.training.epochs == 1.0


def test_init_writes_a_recipe_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base, rows = tiny_model(tmp_path / "base"), write_rows(tmp_path / "rows.csv")
    assert luthier("init", "mine.yaml", "--model", base, "--data", rows, "--method", "lora") == 0
    assert luthier("train", "mine.yaml", "training.epochs=1", "output=run") == 0
    assert luthier("init", "mine.yaml") == 2


def test_every_setting_that_init_writes_may_be_uncommented(tmp_path: Path) -> None:
    import re

    from luthier.recipe import parse
    from luthier.report.template import template

    text = template(model="m", data="d.csv", task=None, method="lora")
    live = re.sub(r"^  # (\w+: )", r"  \1", text, flags=re.MULTILINE).replace("  steps: null", "  # steps")
    assert parse(live) == parse(text)


def test_predict_answers_on_the_screen_as_json(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert luthier("predict", run.folder, "w0 w0", "w2 w2") == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["label"] for answer in answers] == ["good", "poor"]
    assert sum(answers[0]["scores"].values()) == pytest.approx(1.0)


def test_predict_writes_rows_beside_labels_and_scores(run: Run, tmp_path: Path) -> None:
    rows, out = write_rows(tmp_path / "in.csv", 6), tmp_path / "out.csv"
    assert luthier("predict", run.folder, "--file", rows, "--output", out) == 0
    with out.open() as file:
        table = list(csv.DictReader(file))
    assert [row["label"] for row in table] == ["good", "neutral", "poor"] * 2
    assert {"text", "score", "score of good"} <= table[0].keys()


def test_evaluate_scores_other_rows(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert luthier("evaluate", run.folder, write_rows(tmp_path / "other.csv", 30)) == 0
    assert "accuracy" in capsys.readouterr().out


def test_runs_lists_a_run_with_its_score(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert luthier("runs", run.folder.parent) == 0
    assert "f1-macro" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["lora", "linear", "f1", "text-classification", "adamw"])
def test_describe_tells_every_setting(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    from luthier.component import find, groups_of

    assert luthier("describe", kind) == 0
    shown = capsys.readouterr().out
    assert all(field in shown for group in groups_of(kind) for field in find(group, kind).model_fields)


def test_describe_without_a_kind_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    from luthier.component import GROUPS, names

    assert luthier("describe") == 0
    shown = capsys.readouterr().out
    assert all(kind in shown for group in GROUPS for kind in names(group))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("train",), "give a recipe"),
        (("train", "missing.yaml"), "there is no such recipe"),
        (("train", "--model", "x", "--data", "no.csv", "--task", "text-clasification"), "did you mean"),
        (("predict", "no/such/run", "text"), "holds no run"),
        (("describe", "lorra"), "did you mean lora?"),
        (("runs", "no/such/folder"), "holds no runs"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert luthier(*arguments) == 2
    shown = capsys.readouterr().err
    assert told in shown
    assert "Traceback" not in shown


def test_export_copies_the_model_with_its_card(run: Run, tmp_path: Path) -> None:
    assert luthier("export", run.folder, "--to", tmp_path / "out") == 0
    assert {"model.safetensors", "config.json", "README.md"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert luthier("export", run.folder, "--to", tmp_path / "out") == 2


def push(run: Run, url: str, *more: str) -> subprocess.CompletedProcess[str]:
    """A push in a process of its own: the hub's address is read when its client is imported."""
    import os

    address = {"HF_ENDPOINT": url, "HF_TOKEN": "hf_stub", "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "luthier", "export", str(run.folder), "--push", "org/name", *more]
    return subprocess.run(command, env={**os.environ, **address}, capture_output=True, text=True)


def test_push_uploads_the_model_and_its_card_as_they_are(run: Run) -> None:
    with stub_hub() as hub:
        done = push(run, hub.url)
    assert done.returncode == 0, done.stderr
    assert hub.created == [{"name": "name", "organization": "org", "visibility": "private"}]
    assert hub.files["README.md"] == (run.folder / "README.md").read_bytes()
    for path in run.model_folder.iterdir():
        assert hub.files[path.name] == path.read_bytes()


def test_a_hub_that_refuses_is_told_in_one_message(run: Run) -> None:
    with stub_hub(refuses=True) as hub:
        done = push(run, hub.url)
    assert done.returncode == 2
    assert "the hub refused" in done.stderr
    assert "Traceback" not in done.stderr
