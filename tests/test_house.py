"""The house rules hold, and tools/check_layers.py and tools/check_style.py see it when one is broken."""

from pathlib import Path

import check_layers
import check_style
import pytest

TOP = Path(__file__).parents[1]

BROKEN_LAYERS = [
    pytest.param({"errors": "import luthier.cli"}, "errors lies below cli", id="upwards"),
    pytest.param({"models/load": "from luthier import data, run"}, "may not import luthier.run", id="by-name"),
    pytest.param({"data/load": "def f():\n    from luthier.run import Run"}, "below run", id="in-a-function"),
    pytest.param({"errors": "from luthier import tune"}, "errors lies below luthier", id="the-public-api"),
    pytest.param({"errors": "if TYPE_CHECKING:\n    pass\nelse:\n    import luthier.run"}, "below run", id="else"),
    pytest.param(
        {
            "data/a": "import luthier.data.b",
            "data/b": "import luthier.data.c",
            "data/c": "import luthier.data.a",
        },
        "modules import each other: luthier.data.",
        id="circle",
    ),
    pytest.param({"models/__init__": "from luthier.models.load import load"}, "the __init__", id="re-export"),
    pytest.param({"models/__init__": "import luthier.models.load"}, "the __init__", id="own-file"),
    pytest.param({"methods/a": "import luthier.methods.b"}, "kinds may not", id="kinds"),
    pytest.param(
        {"training/schedules/a": "from luthier.training.schedules.b import B"},
        "kinds may not",
        id="deep-kinds",
    ),
    pytest.param({"cli": "import torch.nn"}, "cli must start fast", id="torch-at-the-start"),
    pytest.param({"errors": "class A:\n    from transformers import b"}, "must start fast", id="in-a-class"),
    pytest.param({"elsewhere": "import luthier.errors"}, "not one of the LAYERS", id="no-layer"),
]

ALLOWED = {
    "__init__": "import luthier.cli",
    "cli": "def f():\n    import torch\n    from luthier.run import Run",
    "run": "from luthier import models\nfrom luthier.models import Model, load",
    "errors": "if TYPE_CHECKING:\n    import torch, luthier.run",
    "models/__init__": "import torch\nfrom luthier.errors import did_you_mean",
    "models/load": "from luthier.models import Model\nimport luthier.models.forward",
    "models/forward": "from luthier.models import Model",
    "methods/lora": "from luthier.methods import Method, _peft\nfrom luthier.methods._peft import write",
    "methods/_peft": "import luthier.models.load",
}

NEIGHBOURS = {"run": "", "data/__init__": "", "methods/b": "", "training/schedules/b": ""}
LINE = "    x = 1\n"


def plant(root: Path, files: dict[str, str]) -> Path:
    """A package `luthier` of these files."""
    for name, text in {**NEIGHBOURS, **files}.items():
        path = root / "luthier" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / "luthier"


def test_every_import_of_luthier_points_downwards():
    assert list(check_layers.violations(TOP / "src" / "luthier")) == []


@pytest.mark.parametrize(("files", "message"), BROKEN_LAYERS)
def test_an_import_against_the_rules_is_found(tmp_path: Path, files: dict[str, str], message: str):
    (found,) = check_layers.violations(plant(tmp_path, files))
    assert message in found


def test_imports_within_the_rules_are_let_through(tmp_path: Path):
    assert list(check_layers.violations(plant(tmp_path, ALLOWED))) == []


def test_a_found_import_is_given_with_its_place(tmp_path: Path):
    root = plant(tmp_path, {"errors": "import os\nimport luthier.run"})
    (found,) = check_layers.violations(root)
    assert found.startswith(f"{root / 'errors.py'}:2: ")


@pytest.mark.parametrize("folder", check_style.FOLDERS)
def test_no_file_and_no_function_is_too_long(folder: str):
    assert list(check_style.violations(TOP / folder)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("x = 1\n" * 301, "301 lines; a file has 300 at most", id="file"),
        pytest.param("def f():\n" + LINE * 60, "f has 61 lines; 60 at most", id="function"),
        pytest.param("async def f():\n" + LINE * 60, "f has 61 lines; 60 at most", id="async-function"),
        pytest.param("def f():\n" + LINE * 35, "0 of 1 functions are within 35 lines", id="share"),
    ],
)
def test_what_is_too_long_is_found(tmp_path: Path, text: str, message: str):
    assert any(message in found for found in check_style.violations(plant(tmp_path, {"errors": text})))


def test_one_function_in_twenty_may_be_longer_than_a_screen(tmp_path: Path):
    text = "def short():\n    pass\n" * 19 + "def long():\n" + LINE * 59
    assert list(check_style.violations(plant(tmp_path, {"errors": text}))) == []
