"""LoRA and PEFT read each other's folders, and give the same logits."""

import json
import math
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from luthier.errors import MethodError
from luthier.methods import _peft_lora
from luthier.methods._low_rank import Update
from luthier.methods._parts import parts_of
from luthier.methods.lora import Lora
from tests.tiny import batch, classification, model_for, rows

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's own: about Conv1D, ZeRO-3, deprecated names
TASK = classification()
OURS = {"none": "none", "all": "all", "targets": "lora_only"}
TARGETS = {
    "bert": (["query", "value", "output.dense"], "attention.query"),
    "gpt2": (["c_attn", "c_proj"], "attention"),
    "llama": (["q_proj", "down_proj"], "attention"),
}
cases = pytest.mark.parametrize(
    ("family", "bias"),
    [(family, bias) for family in TARGETS for bias in OURS if (family, bias) != ("llama", "all")],  # it has none
)


@torch.no_grad()
def logits(model: Any) -> Tensor:
    return model.eval()(**batch(TASK, rows(6)).inputs).logits


def shake(model: torch.nn.Module) -> None:
    """Every trainable parameter takes a random value, as if it had learnt."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def learnt(family: str, method: Lora) -> PreTrainedModel:
    model = model_for(TASK, family)
    method.apply(model, generator=torch.Generator().manual_seed(0))
    shake(model)
    return model


def made_by_peft(family: str, folder: Path, **said: Any) -> Tensor:
    """A folder that PEFT saved; -> what PEFT predicts."""
    config = peft.LoraConfig(task_type="SEQ_CLS", **{"r": 4, "target_modules": TARGETS[family][0], **said})
    model = peft.get_peft_model(model_for(TASK, family), config)
    shake(model)
    model.save_pretrained(folder)
    return logits(model)


@pytest.mark.parametrize("rank_stabilized", [False, True])
@cases
def test_peft_reads_what_we_wrote(family: str, bias: Any, rank_stabilized: bool, tmp_path: Path) -> None:
    targets = (TARGETS[family][1],) if rank_stabilized else ("all-linear",)
    method = Lora(rank=4, alpha=6.0, bias=bias, rank_stabilized=rank_stabilized, targets=targets)
    ours = learnt(family, method)
    method.save(ours, tmp_path)
    theirs = peft.PeftModel.from_pretrained(model_for(TASK, family), tmp_path)
    torch.testing.assert_close(logits(theirs), logits(ours), rtol=0, atol=1e-5)
    assert not torch.allclose(logits(ours), logits(model_for(TASK, family)), atol=1e-2)


@pytest.mark.parametrize("rank_stabilized", [False, True])
@cases
def test_we_read_what_peft_wrote(family: str, bias: str, rank_stabilized: bool, tmp_path: Path) -> None:
    theirs = made_by_peft(family, tmp_path, lora_alpha=6, bias=OURS[bias], use_rslora=rank_stabilized)
    method = Lora.model_validate(_peft_lora.read_settings(tmp_path))
    assert (method.rank, method.alpha, method.bias, method.rank_stabilized) == (4, 6.0, bias, rank_stabilized)
    ours = model_for(TASK, family)
    method.apply(ours, generator=torch.Generator())
    method.load(ours, tmp_path)
    torch.testing.assert_close(logits(ours), theirs, rtol=0, atol=1e-5)
    method.fold(ours)
    torch.testing.assert_close(logits(ours), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("targets", ["all-linear", r".*layer\.[01]\.attention\.self\.(query|key)"])
def test_pefts_other_ways_to_name_layers_are_read(targets: str, tmp_path: Path) -> None:
    theirs = made_by_peft("bert", tmp_path, target_modules=targets)
    method, ours = Lora.model_validate(_peft_lora.read_settings(tmp_path)), model_for(TASK)
    method.apply(ours, generator=torch.Generator())
    method.load(ours, tmp_path)
    torch.testing.assert_close(logits(ours), theirs, rtol=0, atol=1e-5)


def test_our_settings_come_back_from_our_folder(tmp_path: Path) -> None:
    method = Lora(rank=3, alpha=5.0, dropout=0.1, bias="targets", rank_stabilized=True, targets=("attention",))
    method.save(learnt("bert", method), tmp_path)
    read = Lora.model_validate(_peft_lora.read_settings(tmp_path))
    assert read.model_copy(update={"targets": method.targets}) == method
    model = model_for(TASK)
    read.apply(model, generator=torch.Generator())
    read.load(model, tmp_path)
    assert torch.equal(logits(model), logits(learnt("bert", method)))


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"layers_to_transform": [0, 1]}, "layers_to_transform"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights"),
        ({"init_lora_weights": "olora"}, "init_lora_weights"),
        ({"lora_bias": True}, "lora_bias"),
    ],
)
def test_what_changes_the_result_and_is_not_read_is_refused_by_name(
    said: dict[str, Any], named: str, tmp_path: Path
) -> None:
    made_by_peft("bert", tmp_path, **said)
    with pytest.raises(MethodError, match=f"adapter_config.json: .*{named}.* cannot be read"):
        _peft_lora.read_settings(tmp_path)


def test_another_method_of_peft_is_refused_by_name(tmp_path: Path) -> None:
    config = peft.IA3Config(task_type="SEQ_CLS", target_modules=["query", "dense"], feedforward_modules=["dense"])
    peft.get_peft_model(model_for(TASK), config).save_pretrained(tmp_path)
    with pytest.raises(MethodError, match="peft_type IA3 cannot be read"):
        _peft_lora.read_settings(tmp_path)


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=r"holds no adapter_config\.json"):
        _peft_lora.read_settings(tmp_path)


def test_an_adapter_of_another_shape_or_with_other_layers_is_refused_by_name(tmp_path: Path) -> None:
    method = Lora(rank=4)
    method.save(learnt("bert", method), tmp_path)
    with pytest.raises(MethodError, match=r"lora_A\.weight has shape \(4, 32\), but this model needs \(8, 32\)"):
        Lora(rank=8).load(learnt("bert", Lora(rank=8)), tmp_path)
    fewer = Lora(rank=4, targets=("attention",))
    with pytest.raises(MethodError, match=r"has base_model\.model\.bert\.encoder\.layer\.0\..*and 15 more do not fit"):
        fewer.load(learnt("bert", fewer), tmp_path)


def test_the_scale_is_alpha_by_rank_or_by_its_root() -> None:
    assert Lora().scale(16, 32.0) == 2.0
    assert Lora(rank_stabilized=True).scale(16, 32.0) == 8.0


def test_an_update_is_scale_b_a_x() -> None:
    method = Lora(rank=2, alpha=3.0, targets=("attention.query",))
    layer, update = parts_of(learnt("bert", method), Update)[0]
    x = torch.randn(5, 32)
    expected = x @ (layer.weight + 1.5 * update.B @ update.A).T + layer.bias
    torch.testing.assert_close(layer(x), expected)


def test_a_is_drawn_as_peft_draws_it() -> None:
    """Uniform within 1 / sqrt(width_in), as kaiming_uniform_ with a = sqrt(5) has it."""
    model = model_for(TASK)
    Lora(rank=64).apply(model, generator=torch.Generator().manual_seed(0))
    for _, update in parts_of(model, Update):
        reference = torch.empty(4000, update.A.shape[1])
        torch.nn.init.kaiming_uniform_(reference, a=math.sqrt(5))
        assert update.A.abs().max() <= reference.abs().max() * 1.01
        assert update.A.std().item() == pytest.approx(reference.std().item(), rel=0.06)
        assert not update.B.any()


def test_dropout_is_only_for_training() -> None:
    method = Lora(rank=2, dropout=0.9)
    model = learnt("bert", method)
    assert torch.equal(logits(model), logits(learnt("bert", Lora(rank=2))))
    (layer, update), x = parts_of(model, Update)[0], torch.ones(1, 32)
    output = layer.weight.new_zeros(1, len(layer.weight))
    assert not torch.equal(update.train()(x, output), update.eval()(x, output))


def test_pefts_config_holds_no_path_of_this_machine(tmp_path: Path) -> None:
    model_for(TASK).save_pretrained(tmp_path / "secret")
    model = type(model_for(TASK)).from_pretrained(tmp_path / "secret")
    Lora().apply(model, generator=torch.Generator())
    Lora().save(model, tmp_path / "adapter")
    written = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert str(tmp_path) not in json.dumps(written)
