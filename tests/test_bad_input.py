"""Every kind of bad recipe, data, model and command line: exit code 2, one message, no traceback, no step taken.

A new kind is a line in one of the tables: what is wrong, how it is made, and a piece of what must be told.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.cli import main
from luthier.run import Run
from tests.runs import tiny_model, tiny_run, write_rows

GOOD = "model: base\ndata: {train: rows.csv, validation: 0.2}\ntask: text-classification\noutput: run\n"

RECIPES = {  # what is wrong: (the recipe, told)
    "empty": ("", "model: is needed, and missing"),
    "no mapping": ("- a\n- b\n", "a recipe is a mapping"),
    "no YAML": ("model: [a\ndata: b", "is no YAML"),
    "tabs": ("\tmodel: x\n", "is no YAML"),
    "binary": ("\0\1\2", "is no YAML"),
    "two documents": (GOOD + "---\n" + GOOD, "is no YAML"),
    "the same setting twice": (GOOD + "model: other\n", "duplicate key"),
    "an unknown setting": (GOOD + "otput: x\n", "did you mean output?"),
    "an unknown task": (GOOD.replace("text-classification", "text-clasification"), "did you mean text-classification?"),
    "an unknown method": (GOOD + "method: lorra\n", "did you mean lora?"),
    "a method without a kind": (GOOD + "method: {rank: 4}\n", "says its kind"),
    "another tool's name": (GOOD + "training: {lr: 1e-4}\n", "training.learning_rate"),
    "a word for a number": (GOOD + "training: {epochs: lots}\n", "should be a valid number"),
    "a number out of range": (GOOD + "method: {kind: lora, rank: 0}\n", "greater than 0"),
    "not a number": (GOOD + "training: {learning_rate: .nan}\n", "finite number"),
    "infinity": (GOOD + "training: {epochs: .inf}\n", "finite number"),
    "two lengths": (GOOD + "training: {epochs: 1, steps: 5}\n", "a run has one length"),
    "an alias": (GOOD + "training: &t {epochs: 1}\n", "is an anchor"),
    "a tag that runs code": (GOOD + "method: !!python/object/apply:os.system ['x']\n", "is a tag"),
    "nested without end": (GOOD + "training: " + "{a: " * 50 + "1" + "}" * 50 + "\n", "nested more than"),
    "a password in an address": (GOOD.replace("base", "https://me:pw@host/x"), "hf auth login"),
    "a target that is not there": (GOOD + "method: {kind: lora, targets: q_proj}\n", "method.targets"),
    "a metric that is not there": (GOOD + "training: {best: acuracy}\n", "did you mean accuracy?"),
    "patience without validation": (
        GOOD.replace("0.2", "null") + "training: {patience: 2}\n", "need validation rows"),
    "labels that the rows go beyond": (
        GOOD.replace("task: text-classification", "task: {kind: text-classification, labels: [good, poor]}"),
        "task.labels"),
    "a setting without a meaning": (
        GOOD.replace("task: text-classification", "task: {kind: text-classification, label_separator: ';'}"),
        "means nothing"),
    "more tokens than the model takes": (
        GOOD.replace("task: text-classification", "task: {kind: text-classification, max_length: 4000}"),
        "task.max_length"),
    "fp16 on a CPU": (GOOD + "training: {precision: fp16, device: cpu}\n", "fp16 needs a GPU"),
    "an encoding that is not there": (GOOD.replace("0.2", "0.2, encoding: utf-9"), "no encoding is called"),
    "a share that leaves nothing": (GOOD.replace("0.2", "0.0001"), "leaves a split empty"),
}  # fmt: skip

DATA: dict[str, tuple[str, bytes | None, str]] = {  # what is wrong: (file, what it holds, told)
    "a file that is not there": ("missing.csv", None, "there is no missing.csv"),
    "a format that is not known": ("rows.docx", b"x", "rows.docx"),
    "an empty file": ("rows.csv", b"", "data.train"),
    "a header alone": ("rows.csv", b"text,label\n", "data.train"),
    "no column for the text": ("rows.csv", b"a,label\nx,1\n", "no column for text"),
    "no column for the label": ("rows.csv", b"text,a\nx,1\n", "no column for label"),
    "two columns of one name": ("rows.csv", b"text,label,text\nx,1,y\n", "two columns are called text"),
    "fewer fields than the header": ("rows.csv", b"text,label\nx,a\ny\n", "rows.csv:3"),
    "more fields than the header": ("rows.csv", b"text,label\nx,a\ny,b,c\n", "rows.csv:3"),
    "a quote that is not closed": ("rows.csv", b'text,label\nx,a\n"y,b\n', "rows.csv"),
    "an empty text": ("rows.csv", b"text,label\nx,a\n,b\n", "rows.csv:3: text is empty"),
    "a blank text": ("rows.csv", b"text,label\nx,a\n   ,b\n", "text is blank"),
    "a missing label": ("rows.csv", b"text,label\nx,a\ny,\n", "label is empty"),
    "a NUL character": ("rows.csv", b"text,label\nx,a\ny\0z,b\n", "rows.csv:3"),
    "another encoding": ("rows.csv", b"text,label\nx,a\n\xff\xfe,b\n", "data.encoding"),
    "one label only": ("rows.csv", b"text,label\nx,a\ny,a\nz,a\nw,a\nv,a\n", "nothing to tell apart"),
    "broken JSON": ("rows.jsonl", b'{"text": "x", "label": "a"}\n{"text": "y"\n', "rows.jsonl:2"),
    "JSON that is no object": ("rows.jsonl", b'{"text": "x", "label": "a"}\n[1, 2]\n', "rows.jsonl:2"),
    "a text that is a number": ("rows.jsonl", b'{"text": 5, "label": "a"}\n', "rows.jsonl:1"),
    "a label that is an object": ("rows.jsonl", b'{"text": "x", "label": {"a": 1}}\n', "rows.jsonl:1"),
    "NaN for a label": ("rows.jsonl", b'{"text": "x", "label": NaN}\n', "rows.jsonl:1"),
    "JSON without end": ("rows.jsonl", b"[" * 100_000 + b"\n", "rows.jsonl:1"),
    "a folder without class folders": ("rows", b"", "data.train"),
}  # fmt: skip


def cut_weights(base: Path) -> None:
    (base / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:100])


def change(base: Path, **said: Any) -> None:
    path = base / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | said))


MODELS: dict[str, tuple[Callable[[Path], object], str]] = {  # what is wrong: (how it is done, told)
    "no folder": (lambda base: base.rename(base.with_name("gone")), "model.name: base cannot be loaded"),
    "no configuration": (lambda base: (base / "config.json").unlink(), "model.name: base cannot be loaded"),
    "a configuration that is no JSON": (lambda base: (base / "config.json").write_text("{"), "model.name: base"),
    "an unknown architecture": (lambda base: change(base, model_type="no-such"), "model.name: base cannot be loaded"),
    "no weights": (lambda base: (base / "model.safetensors").unlink(), "model.name: base cannot be loaded"),
    "weights that break off": (cut_weights, "model.name: base cannot be loaded"),
    "weights as a pickle": (
        lambda base: (base / "model.safetensors").rename(base / "pytorch_model.bin"), "only safetensors are read"),
    "weights of another size": (lambda base: change(base, vocab_size=65), "do not fit its config.json"),
    "quantised weights": (
        lambda base: change(base, quantization_config={"quant_method": "gptq"}), "holds quantised weights"),
    "no tokenizer": (lambda base: [path.unlink() for path in base.glob("tokenizer*")], "model.name: base"),
    "a file": (lambda base: base.rename(base.with_name("x")) and base.write_text("x"), "is a file"),
}  # fmt: skip

COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {  # what is wrong: (the command line, told)
    "a command that is not there": (("trian",), "No such command 'trian'"),
    "an option that is not there": (("train", "--bogus"), "No such option: --bogus"),
    "an option without a value": (("train", "--model"), "requires an argument"),
    "an argument too few": (("predict",), "Missing argument"),
    "nothing to train": (("train",), "give a recipe"),
    "nothing to check": (("check",), "give a recipe"),
    "a recipe that is not there": (("train", "missing.yaml"), "there is no such recipe"),
    "a recipe that is a folder": (("train", "base"), "cannot be read"),
    "an override without a value": (("train", "good.yaml", "training.epochs"), "an override reads key.path=value"),
    "an override of nothing": (("train", "good.yaml", "trainig.epochs=1"), "did you mean training?"),
    "an override below a number": (("train", "good.yaml", "output.x.y=1"), "output"),
    "an override that is no YAML": (("train", "good.yaml", "task.labels=[a"), "is no YAML"),
    "an output that holds something else": (("train", "good.yaml", "output=base"), "is no run of Luthier's"),
    "an output below a file": (("train", "good.yaml", "output=rows.csv/run"), "rows.csv/run"),
    "a run that is not there": (("predict", "no/such/run", "text"), "holds no run"),
    "a folder without runs": (("runs", "base"), "holds no runs"),
    "a run to go on with that is not there": (("resume", "no/such/run"), "holds no run that has begun"),
    "beginning anew and going on at once": (("train", "good.yaml", "--overwrite", "--resume"), "say one of them"),
    "neither texts nor a file": (("predict", "done"), "give texts, or --file"),
    "answers to an unknown format": (("predict", "done", "w1", "--output", "x.docx"), "neither .csv nor .jsonl"),
    "answers into a folder that is not there": (("predict", "done", "w1", "--output", "no/x.csv"), "no/x.csv"),
    "rows that are not there": (("predict", "done", "--file", "missing.csv"), "there is no missing.csv"),
    "rows without labels to score": (("evaluate", "done", "unlabelled.csv"), "no column for label"),
    "a device that is not there": (("predict", "done", "w1", "--device", "mps"), "this machine has no mps"),
    "a device of another name": (("predict", "done", "w1", "--device", "gpu"), "no device is called gpu"),
    "a kind that is not there": (("describe", "lorra"), "did you mean lora?"),
    "a recipe for a method that is not there": (("init", "new.yaml", "--method", "lorra"), "did you mean lora?"),
    "a recipe over another one": (("init", "good.yaml"), "exists"),
    "a recipe into a folder that is not there": (("init", "no/such/new.yaml"), "no/such/new.yaml"),
    "a schema into a folder that is not there": (("schema", "-o", "no/such/s.json"), "no/such/s.json"),
    "an export without a place": (("export", "done"), "--to FOLDER or --push"),
    "an export over something": (("export", "done", "--to", "base"), "exists"),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, rows, a good recipe, and a run that is done."""
    folder = tmp_path_factory.mktemp("made")
    tiny_model(folder / "base")
    write_rows(folder / "rows.csv")
    (folder / "unlabelled.csv").write_text("text\nw1\n")
    (folder / "good.yaml").write_text(GOOD)
    tiny_run(folder / "for-run", training={"epochs": 1, "batch_size": 8, "learning_rate": 1e-3}, output=folder / "done")
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, as the folder a command is typed in; what a test changes is its own."""
    import shutil

    folder = tmp_path / "here"
    shutil.copytree(made, folder, ignore=shutil.ignore_patterns("for-run"))
    monkeypatch.chdir(folder)
    return folder


def message(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a mistaken command tells; it holds what every case must hold."""
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    told = capsys.readouterr()
    assert left.value.code == 2, told.err
    assert told.err.startswith("luthier: ")
    assert told.err.count("luthier: ") == 1
    assert "Traceback" not in told.out + told.err
    assert not any(record["event"] == "step" for record in steps_of(Path("run")))
    return told.err


def steps_of(folder: Path) -> list[dict[str, Any]]:
    return Run(folder).records if (folder / "log.jsonl").is_file() else []


def test_the_good_recipe_is_good(here: Path) -> None:
    with pytest.raises(SystemExit) as left:
        main(["train", "good.yaml", "training.epochs=1"])
    assert left.value.code == 0


@pytest.mark.parametrize("wrong", RECIPES)
@pytest.mark.parametrize("command", ["train", "check"])
def test_a_bad_recipe(here: Path, capsys: pytest.CaptureFixture[str], wrong: str, command: str) -> None:
    text, told = RECIPES[wrong]
    (here / "bad.yaml").write_text(text)
    assert told in message(capsys, command, "bad.yaml")


@pytest.mark.parametrize("wrong", DATA)
def test_bad_data(here: Path, capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    name, content, told = DATA[wrong]
    (here / "rows.csv").unlink()
    if content is not None and "." in name:
        (here / name).write_bytes(content)
    elif content is not None:
        (here / name).mkdir()
    assert told in message(capsys, "train", "good.yaml", f"data.train={name}")


@pytest.mark.parametrize("wrong", MODELS)
def test_a_bad_model(here: Path, capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    harm, told = MODELS[wrong]
    harm(here / "base")
    assert told in message(capsys, "train", "good.yaml")


@pytest.mark.parametrize("wrong", COMMANDS)
def test_a_bad_command_line(here: Path, capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    arguments, told = COMMANDS[wrong]
    assert told in message(capsys, *arguments)


def test_there_are_forty_kinds_at_least() -> None:
    assert len(RECIPES) + len(DATA) + len(MODELS) + len(COMMANDS) >= 40
