"""`model+adapter` reads as PEFT's merge_and_unload, in fp32, in rows."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from luthier.errors import MergeError
from luthier.merging.adapters.adapted import Adapted
from luthier.merging.parents.checkpoint import States
from tests.merging.adapters.loras import FAMILIES, base, lora, saved
from tests.tiny import tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's own: about Conv1D, saved embeddings
families = pytest.mark.parametrize("family", FAMILIES)


@families
def test_every_tensor_is_that_of_the_model_with_the_adapter_folded_in(family: str, tmp_path: Path) -> None:
    given = lora(family, tmp_path / "lora", 1, use_rslora=True)
    folded = peft.PeftModel.from_pretrained(base(family), given).merge_and_unload().state_dict()
    plain = saved(base(family), tmp_path / "base")
    adapted = Adapted(plain, given)
    assert adapted.specs == plain.specs
    assert adapted.label == "base+lora"
    for name, spec in adapted.specs.items():
        assert torch.allclose(adapted.read(name), folded[name], rtol=0, atol=1e-6)
        if len(spec.shape) > 1:
            assert torch.equal(adapted.read(name, 1, 5), adapted.read(name)[1:5])
    assert any(not torch.allclose(adapted.read(name), plain.read(name), atol=1e-3) for name in plain.specs)


def test_square_layers_of_gpt2_are_turned_whatever_the_last_layer_made_peft_write(tmp_path: Path) -> None:
    model = tiny("gpt2")  # with a linear `score`, after which PEFT writes fan_in_fan_out: false
    given = lora("gpt2", tmp_path / "lora", 1, of=model, target_modules=["attn.c_proj", "score"])
    folded = peft.PeftModel.from_pretrained(tiny("gpt2"), given).merge_and_unload().state_dict()
    adapted = Adapted(saved(tiny("gpt2"), tmp_path / "base"), given)
    for name in adapted.specs:
        assert torch.allclose(adapted.read(name), folded[name], rtol=0, atol=1e-6)


def test_16_bit_weights_with_an_update_are_read_in_fp32_and_others_as_they_are(tmp_path: Path) -> None:
    given = lora("llama", tmp_path / "lora", 1, target_modules=["q_proj"])
    adapted = Adapted(saved(base("llama").to(torch.bfloat16), tmp_path / "base"), given)
    touched = {name for name, spec in adapted.specs.items() if spec.dtype == torch.float32}
    assert touched == {f"model.layers.{number}.self_attn.q_proj.weight" for number in range(4)}
    name = min(touched)
    added = adapted.adapter.layers[name.removesuffix(".weight")].rows()
    assert torch.equal(adapted.read(name), adapted.inner.read(name).float() + added)
    assert all(adapted.read(name).dtype == spec.dtype for name, spec in adapted.specs.items())


def test_a_body_saved_alone_takes_the_adapter_of_a_model_with_a_head_and_gets_the_head(tmp_path: Path) -> None:
    given = lora("bert", tmp_path / "lora", 1, of=tiny("bert"), task_type="SEQ_CLS")
    whole = Adapted(saved(tiny("bert"), tmp_path / "whole"), given)
    body = Adapted(saved(tiny("bert").bert, tmp_path / "body"), given)
    name = "encoder.layer.1.attention.self.query.weight"
    assert torch.equal(body.read(name), whole.read(f"bert.{name}"))
    assert torch.equal(body.read("classifier.weight", 1, 2), whole.adapter.whole["classifier.weight"][1:2])
    assert whole.specs["classifier.bias"].shape == (3,)


def test_a_table_of_words_of_a_body_takes_its_update(tmp_path: Path) -> None:
    given = lora("bert", tmp_path / "lora", 1, target_modules=["word_embeddings"])
    folded = peft.PeftModel.from_pretrained(base("bert"), given).merge_and_unload().state_dict()
    adapted = Adapted(saved(base("bert"), tmp_path / "base"), given)
    name = "embeddings.word_embeddings.weight"
    assert torch.allclose(adapted.read(name), folded[name], rtol=0, atol=1e-6)


def test_a_table_that_is_that_of_the_outputs_too_is_refused(tmp_path: Path) -> None:
    given = lora("gpt2", tmp_path / "lora", 1, target_modules=["wte"])
    with pytest.raises(MergeError, match="inputs and of outputs"):
        Adapted(saved(base("gpt2"), tmp_path / "base"), given)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (lambda: base("gpt2"), r"no tensor for the adapter's layer model\.layers\.0"),
        (lambda: base("llama", hidden_size=16, intermediate_size=24), "has shape"),
    ],
)
def test_another_base_is_refused_by_name(other: Any, named: str, tmp_path: Path) -> None:
    given = lora("llama", tmp_path / "lora", 1)
    with pytest.raises(MergeError, match=named):
        Adapted(saved(other(), tmp_path / "base"), given)


def test_weights_that_are_no_floats_are_refused(tmp_path: Path) -> None:
    given = lora("llama", tmp_path / "lora", 1, target_modules=["q_proj"])
    whole = {name: tensor.to(torch.int8) for name, tensor in base("llama").state_dict().items()}
    with pytest.raises(MergeError, match="unquantised"):
        Adapted(States(whole, "quantised"), given)


def test_reading_changes_nothing_of_what_it_reads(tmp_path: Path) -> None:
    given = lora("llama", tmp_path / "lora", 1)
    model = base("llama").float()
    states = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapted = Adapted(States(states, "base"), given)
    for name in adapted.specs:
        assert torch.equal(adapted.read(name), adapted.read(name))
    assert all(torch.equal(states[name], tensor) for name, tensor in model.state_dict().items())
