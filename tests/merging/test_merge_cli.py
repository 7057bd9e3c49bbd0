"""The commands of `luthier merge`, as a user types them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import luthier
from luthier.cli import main
from luthier.errors import LuthierError
from tests.merging.models import family as tiny_family


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return tiny_family(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def luthier_merge(*arguments: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as left:
        main(["merge", *map(str, arguments)])
    assert isinstance(left.value.code, int)
    return left.value.code


def weights(folder: Path | str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def test_a_kind_and_its_options_need_no_file(models: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    a, b = models["a"], models["b"]
    assert luthier_merge("linear", a, b, "--weight", 0.75, "--weight", 0.25, "-o", "out") == 0
    for name, tensor in weights("out").items():
        torch.testing.assert_close(tensor, 0.75 * weights(a)[name] + 0.25 * weights(b)[name])
    shown = capsys.readouterr().out
    assert "it loads and answers" in shown


def test_python_and_a_file_say_the_same_as_the_line(models: dict[str, Path]) -> None:
    base, a, b = (str(models[name]) for name in ("base", "a", "b"))
    assert luthier_merge("ties", "--base", base, a, b, "--density", 0.3, "--set", "scale=0.7", "-o", "line") == 0
    luthier.merge([a, b], base=base, method="ties", density=0.3, scale=0.7, output="python")
    text = {"merge": {"kind": "ties", "density": 0.3, "scale": 0.7}, "base": base, "models": [a, b]}
    Path("recipe.yaml").write_text(json.dumps(text))
    assert luthier_merge("recipe.yaml", "file") == 0
    first, second, third = (weights(name) for name in ("line", "python", "file"))
    assert all(torch.equal(first[name], second[name]) and torch.equal(first[name], third[name]) for name in first)


def test_a_plan_writes_nothing(models: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert luthier_merge("linear", models["a"], models["b"], "--plan") == 0
    assert "reads" in capsys.readouterr().out
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (["tise", "a", "b", "-o", "out"], "did you mean ties?"),
        (["linear", "a", "b"], "say where the merged model goes"),
        (["linear", "a", "nowhere/b", "-o", "out"], "nowhere/b"),
        (["ties", "a", "b", "-o", "out"], "ties needs the model that the others began as"),
        (["linear", "a", "b", "-o", "out", "--weight", "1", "--weight", "2", "--weight", "3"], "3 times for 2 models"),
        (["linear", "a", "b", "-o", "out", "--set", "scale"], "is no setting"),
        (["nowhere.yaml", "out"], "no such recipe"),
        (["linear", "a", "b", "-o", "out", "--memory", "lots"], "no amount of memory"),
    ],
)
def test_a_mistake_is_one_message(
    models: dict[str, Path], said: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        Path(name).symlink_to(models[name])
    assert luthier_merge(*said) == 2
    shown = capsys.readouterr().err
    assert told in shown
    assert len(shown.strip().splitlines()) == 1
    assert not Path("out").exists()


def test_inspect_tells_figures_as_a_table_a_page_and_data(
    models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, base = models["a"], models["b"], models["base"]
    assert luthier_merge("inspect", a, b, "--base", base, "--page", "page.html") == 0
    assert "cosine" in capsys.readouterr().out
    assert "<html" in Path("page.html").read_text()
    assert luthier_merge("inspect", a, b, "--base", base, "--json") == 0
    assert json.loads(capsys.readouterr().out)


def test_an_extracted_adapter_added_to_the_base_is_the_model_again(models: dict[str, Path]) -> None:
    base, a = models["base"], models["a"]
    assert luthier_merge("extract", a, "--base", base, "--energy", 1, "--whole", "changed", "-o", "lora") == 0
    assert luthier_merge("passthrough", f"{base}+lora", "-o", "again") == 0
    for name, tensor in weights("again").items():
        if "proj" in name:
            torch.testing.assert_close(tensor, weights(a)[name], atol=1e-5, rtol=1e-4)
    shutil.copytree("lora", "twin")
    assert luthier_merge("adapters", "concatenate", "lora", "twin", "--weight", 1, "--weight", -1, "-o", "none") == 0
    assert luthier_merge("passthrough", f"{base}+none", "-o", "plain") == 0
    for name, tensor in weights("plain").items():
        if "proj" in name:
            torch.testing.assert_close(tensor, weights(base)[name], atol=1e-5, rtol=1e-4)


def test_runs_are_searched_merged_and_judged(family: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [family / "topics", family / "mails"]
    judges = [word for run in runs for word in ("--evaluate", run)]
    asked = ["task-arithmetic", "--base", family / "base", *runs, *judges, "--candidates", 5, "-o", "found"]
    assert luthier_merge("search", "tise", *asked[1:]) == 2
    assert "did you mean ties?" in capsys.readouterr().err
    assert luthier_merge("search", *asked) == 0
    assert luthier_merge("found/merge.yaml", "out", *judges) == 0
    shown = capsys.readouterr().out
    assert "topics" in shown
    assert (Path("out") / "model.safetensors").exists()


@pytest.mark.parametrize(("kind", "flags"), [("fisher", []), ("regmean", ["--inputs"])])
def test_what_fisher_and_regmean_need_is_gathered_and_changes_the_mean(
    family: Path, kind: str, flags: list[str]
) -> None:
    runs: list[Any] = [family / "topics", family / "mails"]
    for number, run in enumerate(runs):
        assert luthier_merge("statistics", run, "-o", f"s{number}", "--rows", 6, *flags) == 0
    told = ["--statistics", "s0", "--statistics", "s1"]
    assert luthier_merge(kind, "--base", family / "base", *runs, *told, "-o", "weighed") == 0
    assert luthier_merge("linear", "--base", family / "base", *runs, "-o", "plain") == 0
    weighed, plain = weights("weighed"), weights("plain")
    changed = [name for name in plain if not torch.allclose(weighed[name], plain[name])]
    assert any("query" in name for name in changed)


def test_state_dicts_are_merged_in_memory_and_refused_where_they_differ(models: dict[str, Path]) -> None:
    a, b = weights(models["a"]), weights(models["b"])
    merged = luthier.merge([a, b], weight=[0.5, 0.5])
    assert all(torch.allclose(merged[name], (a[name] + b[name]) / 2, atol=1e-6) for name in a)
    with pytest.raises(LuthierError, match="has no"):
        luthier.merge([a, {name: tensor for name, tensor in b.items() if "norm" not in name}])


def test_one_adapter_is_scaled_and_what_the_folder_needs_told_is_told(
    models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    base, a = models["base"], models["a"]
    assert luthier_merge("extract", a, "--base", base, "--energy", 1, "-o", "lora") == 0
    assert luthier_merge("adapters", "concatenate", "lora", "--weight", -1, "-o", "opposite") == 0
    assert "times -1" in capsys.readouterr().out
    assert luthier_merge("passthrough", f"{base}+lora+opposite", "-o", "plain") == 0
    for name, tensor in weights("plain").items():
        torch.testing.assert_close(tensor, weights(base)[name], atol=1e-5, rtol=1e-4)
