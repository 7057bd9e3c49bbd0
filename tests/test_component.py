"""Kinds are found by their names, in the package and in other packages, and imported only when asked for."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from pydantic_core import PydanticCustomError
from typer.testing import CliRunner

import luthier
from luthier.cli import app
from luthier.component import GROUPS, find, groups_of, names
from luthier.methods.lora import Lora
from luthier.recipe import dump, parse

PLUGIN = {
    "sonatina/methods/noop.py": '''
        """Nothing is learnt but the head. Nobody 2024."""
        from luthier.methods.partial import Partial

        class Noop(Partial):
            """Nothing but the head."""
            softness: float = 0.5
            """How softly nothing is done."""
    ''',
    "sonatina/tasks/tempo.py": '''
        """How fast a text is. Nobody 2024."""
        from luthier.tasks.text_classification import TextClassification

        class Tempo(TextClassification):
            """A speed for a text."""
            @property
            def metrics(self):
                return ("exact-tempo", "loss")
    ''',
    "sonatina/metrics/exact_tempo.py": '''
        """Share of rows with exactly the right tempo. Nobody 2024."""
        import numpy as np
        from luthier.evaluation.metrics import Metric

        class ExactTempo(Metric):
            """Exactly right."""
            def rows(self, predictions, references):
                return np.array([float(p.value == r) for p, r in zip(predictions, references)])
            def value(self, stats):
                return float(stats.mean())
    ''',
    "sonatina-1.0.dist-info/entry_points.txt": """
        [luthier.methods]
        noop = sonatina.methods.noop
        [luthier.tasks]
        tempo = sonatina.tasks.tempo
        [luthier.metrics]
        exact-tempo = sonatina.metrics.exact_tempo
    """,
    "sonatina-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: sonatina\nVersion: 1.0\n",
}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package that adds a method, a task and a metric, one file each."""
    for name, text in PLUGIN.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip())
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for module in [name for name in sys.modules if name.partition(".")[0] == "sonatina"]:
        del sys.modules[module]


def test_a_plug_ins_kinds_are_found_and_imported_only_when_asked_for(plugin: Path) -> None:
    assert "noop" in names("methods")
    assert "tempo" in names("tasks")
    assert "exact-tempo" in names("metrics")
    assert not any(name.startswith("sonatina") for name in sys.modules)
    assert find("methods", "noop").kind() == "noop"
    assert groups_of("exact-tempo") == ("metrics",)


def test_a_plug_ins_kinds_stand_in_a_recipe(plugin: Path) -> None:
    text = "model: m\ndata: a.csv\ntask: tempo\nmethod: {kind: noop, softness: 0.25}\n"
    recipe = parse(text)
    assert (recipe.method.kind(), recipe.method.softness, recipe.task.kind()) == ("noop", 0.25, "tempo")
    assert parse(dump(recipe)) == recipe


def test_a_plug_ins_kinds_train_and_score(plugin: Path) -> None:
    from luthier.component import Facts
    from luthier.training.course import Material, course
    from tests.tiny import model_for, separable, tokenizer
    from tests.training.courses import events, settings

    task = find("tasks", "tempo")().resolve(Facts(train=separable(12)))
    method, model, processor = find("methods", "noop")(), model_for(task), tokenizer()
    method.apply(model, generator=None)
    rows = task.prepare(separable(12), processor)
    records = list(course(Material(model, processor, task, rows, rows), method, settings(steps=2)))
    assert 0 <= events(records, "evaluation")[-1]["exact-tempo"] <= 1
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {"classifier.weight", "classifier.bias"}


def test_a_plug_ins_kinds_are_described(plugin: Path) -> None:
    told = CliRunner().invoke(app, ["describe", "noop"])
    assert told.exit_code == 0
    assert "softness" in told.stdout
    assert "How softly nothing is done" in told.stdout


def test_a_kind_of_ours_cannot_be_taken_by_a_plug_in(plugin: Path) -> None:
    (plugin / "sonatina/methods/lora.py").write_text((plugin / "sonatina/methods/noop.py").read_text())
    points = plugin / "sonatina-1.0.dist-info/entry_points.txt"
    points.write_text("[luthier.methods]\nlora = sonatina.methods.lora\n")
    assert find("methods", "lora") is Lora


def test_files_of_a_group_are_its_kinds() -> None:
    assert names("methods") == ("adapter", "full", "ia3", "lora", "partial", "prefix", "prompt", "setfit")
    understanding = (
        "masked-lm",
        "multiple-choice",
        "question-answering",
        "sentence-similarity",
        "text-classification",
        "token-classification",
    )
    assert names("tasks") == tuple(sorted((*understanding, "causal-lm", "seq2seq", "speech-recognition")))
    assert not any(kind.startswith("-") for group in GROUPS for kind in names(group))


def test_an_unknown_kind_is_told_with_the_near_one_or_with_all() -> None:
    with pytest.raises(PydanticCustomError, match=r"no schedule is called linaer; did you mean linear\?"):
        find("schedules", "linaer")
    with pytest.raises(PydanticCustomError, match=r"no optimizer is called xyz; known: adafactor, adamw, .*, sgd"):
        find("optimizers", "xyz")


def imported(code: str) -> set[str]:
    """Packages that a fresh process has imported after running some code."""
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*{{m.partition('.')[0] for m in sys.modules}})"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(told.stdout.split())


HEAVY = {"torch", "transformers", "datasets", "sklearn", "scipy", "numpy", "pandas", "pyarrow", "peft"}


@pytest.mark.parametrize(
    "code",
    [
        "import luthier",
        "import luthier.cli",
        "import luthier.component; luthier.component.names('methods')",
        "from luthier import LuthierError",
        "dir(__import__('luthier'))",
    ],
)
def test_what_a_first_look_needs_imports_nothing_heavy(code: str) -> None:
    assert not imported(code) & HEAVY


def test_the_public_api_is_what_it_says() -> None:
    """Every name is a promise: a new one is added here on purpose."""
    assert sorted(luthier.__all__) == [
        "LuthierError",
        "Recipe",
        "Run",
        "attach",
        "load",
        "merge",
        "search",
        "share",
        "train",
        "tune",
    ]
    assert dir(luthier) == [*sorted([*luthier.__all__, "__version__"])]


@pytest.mark.parametrize("name", luthier.__all__)
def test_every_public_name_is_a_function_or_a_type_of_its_own_module(name: str) -> None:
    found = getattr(luthier, name)
    assert found.__name__ == name
    assert found.__module__.startswith("luthier.")
    assert found.__doc__


def test_what_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'luthier' has no attribute 'trian'"):
        _ = luthier.trian
