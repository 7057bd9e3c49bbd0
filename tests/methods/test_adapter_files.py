"""An adapter's folder is Luthier's own: it says what it is, is read again, and what is another one's is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from luthier.component import Facts
from luthier.errors import MethodError
from luthier.methods.adapter import Adapter
from tests.methods.test_adapter import made
from tests.runs import tiny_model, tiny_run
from tests.tiny import classification, model_for

TASK = classification()


def test_its_folder_says_what_it_is_and_holds_tensors_by_layer(tmp_path: Path) -> None:
    method = Adapter(placement="parallel", reduction=4.0, norm=True, blocks=("last-1",)).resolve(Facts())
    model_for(TASK).save_pretrained(tmp_path / "secret")
    model = type(model_for(TASK)).from_pretrained(tmp_path / "secret").eval()
    method.apply(model, generator=torch.Generator().manual_seed(0))
    method.save(model, tmp_path / "adapter")
    written = json.loads((tmp_path / "adapter" / "luthier.json").read_text())
    assert (written["method"]["kind"], written["base"]["name"]) == ("adapter", "secret")
    assert str(tmp_path) not in json.dumps(written)
    assert Adapter.read(tmp_path / "adapter") == method
    names = load_file(tmp_path / "adapter" / "learnt.safetensors").keys()
    parts = ("down", "down_bias", "norm_bias", "norm_weight", "up", "up_bias")
    place = "bert.encoder.layer.3.output.dense.adapter"
    assert set(names) == {f"{place}.{part}" for part in parts} | {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"kind": "prefix"}, "is of the method prefix, not adapter"),
        ({"kind": "adapter", "placement": "above"}, "method.placement: Input should be 'pfeiffer', 'houlsby' or 'par"),
        ({"kind": "adapter", "gate": True}, "method.gate: Extra inputs are not permitted"),
    ],
)
def test_a_folder_that_is_another_ones_is_refused(changed: dict[str, Any], told: str, tmp_path: Path) -> None:
    (tmp_path / "luthier.json").write_text(json.dumps({"method": changed}))
    with pytest.raises(MethodError, match=f"luthier.json: {told}"):
        Adapter.read(tmp_path)


def test_a_folder_without_the_file_or_with_a_broken_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=r"holds no luthier\.json"):
        Adapter.read(tmp_path)
    for broken, told in (("{", "cannot be read"), ("[]", "holds no mapping")):
        (tmp_path / "luthier.json").write_text(broken)
        with pytest.raises(MethodError, match=told):
            Adapter.read(tmp_path)


def test_tensors_of_another_shape_or_place_are_refused_by_name(tmp_path: Path) -> None:
    Adapter(reduction=4.0).save(made("bert", Adapter(reduction=4.0)), tmp_path)
    with pytest.raises(MethodError, match=r"layer.0.output.dense.adapter.down has shape \(8, 32\), but .* \(16, 32\)"):
        Adapter(reduction=2.0).load(made("bert", Adapter(reduction=2.0)), tmp_path)
    few = Adapter(reduction=4.0, blocks=("last-1",))
    with pytest.raises(MethodError, match=r"has bert.encoder.layer.0.output.dense.adapter.down, and 11 more"):
        few.load(made("bert", few), tmp_path)


def test_a_run_keeps_an_adapter_and_answers_with_it(tmp_path: Path) -> None:
    training = {"epochs": 12, "batch_size": 8, "learning_rate": 1e-2, "precision": "fp32", "seed": 1}
    base = str(tiny_model(tmp_path / "wide", initializer_range=0.2))
    method = {"kind": "adapter", "placement": "parallel", "reduction": 4}
    run, _ = tiny_run(tmp_path, model=base, method=method, training=training)
    assert not run.model_folder.exists()
    assert {path.name for path in run.adapter_folder.iterdir()} == {"luthier.json", "learnt.safetensors"}
    assert run.recipe.method == Adapter.read(run.adapter_folder)
    assert run.metrics["test"]["accuracy"]["value"] > 0.5  # chance is a third
    assert len(run.predict(["w0 w0", "w1 w1"])) == 2
