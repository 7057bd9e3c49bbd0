"""A LoRA is taken from the difference of two models, with all that belongs to it or told what does not."""

import copy
from pathlib import Path

import peft
import pytest
import torch
from transformers import PreTrainedModel

from luthier.adapters import attach
from luthier.errors import MergeError
from luthier.merging.adapters.adapted import Adapted
from luthier.merging.adapters.extract import extract
from luthier.merging.adapters.lora_files import read_lora
from luthier.merging.adapters.truncate import Keep
from luthier.merging.parents.checkpoint import States
from tests.merging.adapters.loras import FAMILIES, answers, base, lora, saved, shake
from tests.tiny import tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's own: about Conv1D, saved embeddings, tied tables
families = pytest.mark.parametrize("family", FAMILIES)
ALL = Keep()


def tuned(model: PreTrainedModel, *only: str) -> PreTrainedModel:
    """A copy, all or some of whose parameters have changed."""
    changed = copy.deepcopy(model)
    for name, parameter in changed.named_parameters():
        parameter.requires_grad_(not only or any(part in name for part in only))
    shake(changed, 3, 0.05)
    return changed.requires_grad_(True)


@families
def test_at_full_rank_the_linear_layers_are_those_of_the_tuned_model(family: str, tmp_path: Path) -> None:
    plain = base(family)
    linear = ("query.weight", "dense.weight", "proj.weight", "c_attn.weight", "c_fc.weight")
    other = tuned(plain, *linear)
    report = extract(saved(other, tmp_path / "b"), saved(plain, tmp_path / "a"), tmp_path / "out", keep=ALL)
    assert not report.left_out
    assert report.num_whole == 0
    assert report.energy == pytest.approx(1.0)
    theirs = peft.PeftModel.from_pretrained(base(family), tmp_path / "out")
    assert torch.allclose(answers(theirs), answers(other), rtol=0, atol=1e-4)
    assert not torch.allclose(answers(other), answers(plain), atol=1e-2)
    ours = base(family)
    attach(ours, tmp_path / "out")
    assert torch.allclose(answers(ours), answers(other), rtol=0, atol=1e-4)


@pytest.mark.parametrize("head", ["base", "sequence-classification", "lm"])
@families
def test_with_all_that_changed_the_tuned_model_comes_back_whole(family: str, head: str, tmp_path: Path) -> None:
    plain = tiny(family, head=head)
    other = tuned(plain)
    report = extract(
        saved(other, tmp_path / "b"),
        saved(plain, tmp_path / "a"),
        tmp_path / "out",
        keep=ALL,
        modules_to_save="changed",
    )
    assert not report.left_out
    assert report.num_unchanged == 0
    theirs = peft.PeftModel.from_pretrained(tiny(family, head=head), tmp_path / "out")
    assert torch.allclose(answers(theirs), answers(other), rtol=0, atol=1e-4)
    assert not torch.allclose(answers(other), answers(plain), atol=1e-2)


def test_a_new_head_goes_with_the_updates_and_the_rest_is_told(tmp_path: Path) -> None:
    other = tuned(tiny("bert"))
    body = saved(tiny("bert").bert, tmp_path / "a")  # a body alone, whose tensors have no `bert.` before them
    report = extract(saved(other, tmp_path / "b"), body, tmp_path / "out", keep=Keep(rank=4))
    read = read_lora(tmp_path / "out")
    assert read.whole.keys() == {"classifier.weight", "classifier.bias"}
    assert torch.equal(read.whole["classifier.weight"], other.classifier.weight)
    assert {"bert.embeddings.LayerNorm.weight", "bert.encoder.layer.0.attention.self.query.bias"} <= set(
        report.left_out
    )
    assert "tensors differ and are left out" in "\n".join(report.lines())
    model = tiny("bert")
    attach(model, tmp_path / "out")
    theirs = peft.PeftModel.from_pretrained(tiny("bert"), tmp_path / "out")
    assert torch.allclose(answers(model), answers(theirs), rtol=0, atol=1e-5)


def test_a_head_that_is_left_out_is_told_and_the_rest_loads(tmp_path: Path) -> None:
    other = tuned(tiny("bert"), "query.weight", "classifier")
    pair = saved(other, tmp_path / "b"), saved(tiny("bert"), tmp_path / "a")
    report = extract(*pair, tmp_path / "out", modules_to_save="none")
    assert report.left_out == ("classifier.bias",)  # its weight is that of a linear layer
    answers(peft.PeftModel.from_pretrained(tiny("bert"), tmp_path / "out"))


def test_experts_that_lie_in_files_in_another_form_are_told(tmp_path: Path) -> None:
    plain = tiny("mixtral", head="lm")
    pair = saved(tuned(plain), tmp_path / "b"), saved(plain, tmp_path / "a")
    report = extract(*pair, tmp_path / "out", modules_to_save="changed")
    experts = {name for name in pair[0].specs if ".experts." in name}
    assert experts
    assert experts <= set(report.left_out)


def test_modules_are_kept_by_name(tmp_path: Path) -> None:
    other = tuned(base("llama"))
    pair = saved(other, tmp_path / "b"), saved(base("llama"), tmp_path / "a")
    report = extract(*pair, tmp_path / "out", keep=ALL, modules_to_save=["input_layernorm", "lm_head", "layers.3"])
    read = read_lora(tmp_path / "out")
    assert torch.equal(
        read.whole["model.layers.0.input_layernorm.weight"], other.model.layers[0].input_layernorm.weight
    )
    assert not any(name.startswith("model.layers.3") or name == "lm_head" for name in read.layers)
    assert "model.layers.3.mlp.up_proj.weight" in read.whole
    assert "model.layers.0.post_attention_layernorm.weight" in report.left_out
    with pytest.raises(MergeError, match="no module of b is called nrom"):
        extract(*pair, tmp_path / "no", modules_to_save=["nrom"])


@families
def test_an_adapter_that_was_folded_is_found_again(family: str, tmp_path: Path) -> None:
    given = lora(family, tmp_path / "given", 1)
    folded = peft.PeftModel.from_pretrained(base(family), given).merge_and_unload()
    pair = saved(folded, tmp_path / "b"), saved(base(family), tmp_path / "a")
    report = extract(*pair, tmp_path / "out", keep=Keep(rank=4))
    assert report.energy > 0.99999
    found, before = read_lora(tmp_path / "out").layers, read_lora(given).layers
    assert found.keys() == before.keys()
    for name, factors in before.items():
        assert torch.allclose(found[name].rows(), factors.rows(), rtol=0, atol=1e-5)
    exact = extract(*pair, tmp_path / "again", keep=Keep(energy=0.99999))
    assert all(layer.rank <= 4 for layer in exact.layers)


def test_a_share_of_the_energy_takes_the_smallest_rank_that_holds_it(tmp_path: Path) -> None:
    pair = saved(tuned(base("llama")), tmp_path / "b"), saved(base("llama"), tmp_path / "a")
    report = extract(*pair, tmp_path / "out", keep=Keep(energy=0.95))
    for layer in report.layers:
        name = f"{layer.name}.weight"
        values = torch.linalg.svdvals(pair[0].read(name) - pair[1].read(name)).square()
        assert layer.rank == int((values.cumsum(0) / values.sum() < 0.95).sum()) + 1
        assert layer.energy == pytest.approx(float(values[: layer.rank].sum() / values.sum()), abs=1e-5)
    assert report.energy == pytest.approx(
        sum(layer.kept for layer in report.layers) / sum(layer.total for layer in report.layers)
    )
    assert 0.95 <= report.energy < 1


def test_a_lower_rank_keeps_less_and_comes_less_near(tmp_path: Path) -> None:
    other = tuned(base("llama"), "proj.weight")
    pair = saved(other, tmp_path / "b"), saved(base("llama"), tmp_path / "a")
    far = []
    for rank in (1, 8, 24):
        report = extract(*pair, tmp_path / f"{rank}", keep=Keep(rank=rank))
        adapted = Adapted(pair[1], tmp_path / f"{rank}")
        lost = sum(float((adapted.read(n) - pair[0].read(n)).square().sum()) for n in pair[1].specs)
        total = sum(layer.total for layer in report.layers)
        assert lost == pytest.approx(total * (1 - report.energy), rel=1e-3)
        far.append(lost)
    assert far == sorted(far, reverse=True)


def test_16_bit_models_are_subtracted_in_fp32(tmp_path: Path) -> None:
    plain, other = base("llama").bfloat16(), tuned(base("llama"), "q_proj").bfloat16()
    pair = saved(other, tmp_path / "b"), saved(plain, tmp_path / "a")
    extract(*pair, tmp_path / "out", keep=ALL)
    name = "model.layers.0.self_attn.q_proj"
    exact = pair[0].read(f"{name}.weight").double() - pair[1].read(f"{name}.weight").double()
    assert torch.allclose(read_lora(tmp_path / "out").layers[name].rows().double(), exact, rtol=0, atol=1e-6)


def test_a_model_whose_numbers_are_not_finite_is_refused(tmp_path: Path) -> None:
    other = tuned(base("llama"), "q_proj")
    with torch.no_grad():
        other.model.layers[2].self_attn.q_proj.weight[0, 0] = float("inf")
    with pytest.raises(MergeError, match=r"layers\.2\.self_attn\.q_proj\.weight less that of a is not finite"):
        extract(saved(other, tmp_path / "b"), saved(base("llama"), tmp_path / "a"), tmp_path / "out")


def test_state_dicts_in_memory_do_with_their_configuration(tmp_path: Path) -> None:
    plain, other = base("llama"), tuned(base("llama"))
    config = plain.config.to_dict() | {"architectures": ["LlamaForCausalLM"]}
    extract(States(other.state_dict(), "b", config), States(plain.state_dict(), "a"), tmp_path / "out")
    assert {factors.rank for factors in read_lora(tmp_path / "out").layers.values()} == {16}


def test_models_that_do_not_differ_or_are_not_known_are_refused(tmp_path: Path) -> None:
    plain = saved(base("llama"), tmp_path / "a")
    with pytest.raises(MergeError, match="no linear layer differs"):
        extract(plain, plain, tmp_path / "out")
    norms = saved(tuned(base("llama"), "norm"), tmp_path / "b")
    with pytest.raises(MergeError, match="no linear layer differs"):
        extract(norms, plain, tmp_path / "out", modules_to_save="changed")
    with pytest.raises(MergeError, match="b: "):
        extract(States(base("llama").state_dict(), "b"), plain, tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(MergeError, match="already"):
        extract(norms, plain, tmp_path / "out")
