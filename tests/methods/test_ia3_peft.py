"""(IA)^3 and PEFT read each other's folders, and give the same logits."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from luthier.errors import MethodError
from luthier.methods._parts import parts_of
from luthier.methods._scales import Scale, ScaledAnswer, ScaledInput
from luthier.methods.ia3 import Ia3
from luthier.models.arithmetic import computing
from tests.methods.learnt import FAMILIES, assert_alike, by_peft, fresh, learnt, loaded, logits, read_by_peft
from tests.tiny import tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's own
every_family = pytest.mark.parametrize("family", FAMILIES)


@every_family
@pytest.mark.parametrize("settings", [{}, {"also_train": ("norm",)}])
def test_peft_reads_what_we_wrote(settings: Any, family: str, tmp_path: Path) -> None:
    method = Ia3(**settings)
    ours = learnt(family, method)
    method.save(ours, tmp_path)
    assert_alike(read_by_peft(family, tmp_path), ours)
    assert_alike(loaded(family, Ia3.read(tmp_path), tmp_path), ours)
    assert not torch.allclose(logits(ours), logits(fresh(family)), atol=1e-3)


@every_family
def test_we_read_what_peft_wrote_with_its_own_choice_of_layers(family: str, tmp_path: Path) -> None:
    """Of BERT that is attention's output too, as `output.dense` ends its name."""
    theirs = by_peft(family, peft.IA3Config, fan_in_fan_out=family == "gpt2")
    theirs.save_pretrained(tmp_path)
    method = Ia3.read(tmp_path)
    ours = loaded(family, method, tmp_path)
    assert_alike(ours, theirs)
    method.fold(ours)
    assert_alike(ours, theirs)


def test_pefts_regular_expressions_are_read(tmp_path: Path) -> None:
    named = {"target_modules": r".*layer\.[01]\..*(key|intermediate\.dense|output\.dense)"}
    theirs = by_peft("bert", peft.IA3Config, feedforward_modules=r".*\d\.output\.dense", **named)
    theirs.save_pretrained(tmp_path)
    assert_alike(loaded("bert", Ia3.read(tmp_path), tmp_path), theirs)


@every_family
def test_it_starts_as_the_base_and_switches_off_to_it(family: str) -> None:
    model = fresh(family)
    base = logits(model)
    method = Ia3()
    method.apply(model, generator=torch.Generator())
    assert torch.equal(logits(model), base)
    with torch.no_grad():
        for _, scale in parts_of(model, Scale):
            scale.l.add_(0.1)
    assert not torch.equal(logits(model), base)
    with method.off(model):
        assert torch.equal(logits(model), base)


@pytest.mark.parametrize(
    ("family", "answers", "inputs"),
    [
        ("bert", ["key", "value"], ["dense"]),
        ("gpt2", ["c_attn"], ["c_proj"]),
        ("llama", ["k_proj", "v_proj"], ["down_proj"]),
        ("phi3", ["qkv_proj"], ["down_proj"]),
        ("t5", ["k", "v"], ["wo"]),
    ],
)
def test_keys_values_and_inner_activations_are_scaled(family: str, answers: list[str], inputs: list[str]) -> None:
    """As the paper has it; T5's decoder attends to its encoder too."""
    model = tiny(family, head="lm")
    Ia3().apply(model, generator=torch.Generator())
    kinds = {
        name.removesuffix(".ia3").rpartition(".")[2]: type(m) for name, m in model.named_modules() if "ia3" in name
    }
    assert kinds == dict.fromkeys(answers, ScaledAnswer) | dict.fromkeys(inputs, ScaledInput)
    blocks = 8 if family == "t5" else 4
    attentions = 12 if family == "t5" else 4
    assert len(parts_of(model, Scale)) == blocks * len(inputs) + attentions * len(answers)


def test_a_scaled_layer_is_what_the_formula_says() -> None:
    model = learnt("bert", Ia3())
    block, x = model.bert.encoder.layer[0], torch.randn(5, 64)
    value, out = block.attention.self.value, block.output.dense
    torch.testing.assert_close(value(x[:, :32]), (x[:, :32] @ value.weight.T + value.bias) * value.ia3.l)
    torch.testing.assert_close(out(x), (x * out.ia3.l) @ out.weight.T + out.bias)


def test_small_steps_are_not_lost_in_bf16() -> None:
    """A model that computes on copies in bf16 knows 1 + 0.001 only as 1; the scales stay what they are."""
    model = fresh("bert")
    Ia3().apply(model, generator=torch.Generator())
    scale = parts_of(model, Scale)[0][1]
    with torch.no_grad():
        scale.l.add_(1e-3)
    with computing(model, "bf16"):
        assert scale.l.dtype == torch.float32
        assert (scale.l != 1).all()
        answer = scale.of(torch.ones(1, len(scale.l), dtype=torch.bfloat16))
        assert answer.dtype == torch.bfloat16
        answer.sum().backward()
    assert scale.l.grad is not None


def test_experts_are_refused_by_name() -> None:
    with pytest.raises(MethodError, match=r"method\.feed_forward: no layer of this model is a feed-forward\.out"):
        Ia3().apply(tiny("mixtral", head="lm"), generator=torch.Generator())
    model = tiny("mixtral", head="lm")
    Ia3(feed_forward=()).apply(model, generator=torch.Generator())
    assert len(parts_of(model, Scale)) == 8


def test_another_method_of_peft_is_refused_by_name(tmp_path: Path) -> None:
    by_peft("bert", peft.LoraConfig).save_pretrained(tmp_path)
    with pytest.raises(MethodError, match="peft_type LORA cannot be read as IA3"):
        Ia3.read(tmp_path)


def test_modules_that_learn_whole_cannot_be_switched_off() -> None:
    method = Ia3(also_train=("norm",))
    with pytest.raises(MethodError, match="also_train=norm changes the base"), method.off(learnt("bert", method)):
        pass
