"""Architectures of other packages are registered before a model is loaded, and train like any other."""

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from luthier.errors import ModelError
from luthier.models import plugins
from tests.runs import tiny_model, tiny_run
from tests.tiny import FAMILIES, tokenizer

PLUGIN = {
    "spinet.py": '''
        """BERT under another name."""
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForMaskedLM
        from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

        class SpinetConfig(BertConfig):
            model_type = "spinet"

        class SpinetForSequenceClassification(BertForSequenceClassification):
            config_class = SpinetConfig

        class SpinetForMaskedLM(BertForMaskedLM):
            config_class = SpinetConfig

        AutoConfig.register("spinet", SpinetConfig, exist_ok=True)
        AutoModelForSequenceClassification.register(SpinetConfig, SpinetForSequenceClassification)
        AutoModelForMaskedLM.register(SpinetConfig, SpinetForMaskedLM)
    ''',
    "spinet-1.0.dist-info/entry_points.txt": "[luthier.models]\nspinet = spinet\n",
    "spinet-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: spinet\nVersion: 1.0\n",
}


def install(folder: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a package where Python finds it, with what an installer writes beside it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip())
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))  # the self-check reloads in a process of its own


@pytest.fixture
def spinet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that adds an architecture."""
    install(tmp_path / "site", PLUGIN, monkeypatch)
    yield
    sys.modules.pop("spinet", None)


def write_model(folder: Path) -> Path:
    """A tiny model of the plug-in, as `save_pretrained` writes it, and a tokenizer."""
    plugins.register()
    config = AutoConfig.for_model("spinet", **FAMILIES["bert"])
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.usefixtures("processes_of_their_own")
def test_a_model_of_a_plug_in_trains_and_answers_after_reloading(spinet: None, tmp_path: Path) -> None:
    run, _ = tiny_run(tmp_path, model=str(write_model(tmp_path / "model")))
    model, _ = run.load("cpu")
    assert type(model).__name__ == "SpinetForSequenceClassification"
    assert run.metrics["test"]["accuracy"]["value"] == 1


def test_without_the_plug_in_its_model_is_not_known(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny_model(folder)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"model_type": "bert"', '"model_type": "harpsichord"'))
    with pytest.raises(ModelError, match=r"model\.name: .* cannot be loaded: .*harpsichord"):
        tiny_run(tmp_path, model=str(folder))


def test_a_plug_in_is_imported_once(spinet: None) -> None:
    plugins.register()
    module = sys.modules["spinet"]
    plugins.register()
    assert sys.modules["spinet"] is module


def test_a_plug_in_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "broken-1.0.dist-info/entry_points.txt": "[luthier.models]\nregal = no_such_module\n",
        "broken-1.0.dist-info/METADATA": PLUGIN["spinet-1.0.dist-info/METADATA"],
    }
    install(tmp_path, files, monkeypatch)
    with pytest.raises(ModelError, match=r"plug-in regal cannot be imported from no_such_module: .*uninstall it"):
        plugins.register()
