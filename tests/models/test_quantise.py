"""Weights in few bits are bitsandbytes' own, and a model computes with them as with plain ones."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier import extras
from luthier.errors import MissingExtra, ModelError
from luthier.methods.lora import Lora
from luthier.models import quantised as layers
from luthier.models.anatomy import is_linear, linear_sizes, read
from luthier.models.checkpointing import checkpointed
from luthier.models.flat_trial import lay_flat
from luthier.models.load import Ask, load_model
from luthier.models.processor import load_tokenizer
from luthier.models.quantise import dequantise, num_bytes, num_weights, quantise, quantised
from luthier.models.quantised import BITS, KINDS, Quantization, make_plain, make_quantised
from luthier.models.source import ModelSource
from luthier.models.weights import plain_weight, set_plain_weight
from tests.tiny import batch, classification, model_for, rows, tiny, tokenizer

TASK = classification()
SIZES = [(64, 32), (96, 576), (40, 6)]
DTYPES = [torch.float32, torch.bfloat16]
FAMILIES = ("bert", "gpt2", "llama", "t5", "albert", "phi3")
GGUF = Path("build/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")

every_kind = pytest.mark.parametrize("kind", sorted(KINDS))
every_family = pytest.mark.parametrize("family", FAMILIES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def plain(width_out: int, width_in: int, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(width_in, width_out).to(dtype)


def in_few_bits(kind: Quantization, *size: int, dtype: torch.dtype = torch.float32) -> Any:
    layer = plain(*size, dtype)
    make_quantised(layer, kind, "cpu")
    return layer


def theirs(kind: Quantization, *size: int, dtype: torch.dtype) -> Any:
    """bitsandbytes' own layer of the same weight, in the mode that it trains in."""
    mine, (width_out, width_in) = plain(*size, dtype), size
    if kind == "nf4":
        layer = bnb.nn.Linear4bit(width_in, width_out, quant_type="nf4", compute_dtype=dtype)
        layer.weight = bnb.nn.Params4bit(mine.weight.data, quant_type="nf4", module=layer)
    else:
        layer = bnb.nn.Linear8bitLt(width_in, width_out, has_fp16_weights=False)
        layer.weight = bnb.nn.Int8Params(mine.weight.data, requires_grad=False)
    layer.bias = mine.bias
    return layer.to("cpu").train()


@every_dtype
@pytest.mark.parametrize("size", SIZES, ids=str)
@every_kind
def test_a_layer_answers_and_passes_gradients_as_bitsandbytes_layer_does(
    kind: Quantization, size: tuple[int, int], dtype: torch.dtype
) -> None:
    x = torch.randn(2, 5, size[1], generator=torch.Generator().manual_seed(1)).to(dtype)
    told = []
    for layer in (in_few_bits(kind, *size, dtype=dtype), theirs(kind, *size, dtype=dtype)):
        seen = x.clone().requires_grad_()
        answer = layer(seen)
        answer.sum().backward()
        told.append((answer.detach(), seen.grad))
    rounding = 0.0 if kind == "nf4" else 1e-5 if dtype == torch.float32 else 2e-2
    for ours, wanted in zip(*told, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=rounding, atol=rounding)


@every_dtype
@pytest.mark.parametrize("size", [*SIZES, (7, 33), (1, 64)], ids=str)
def test_nf4_is_near_the_weight_and_int8_nearer(size: tuple[int, int], dtype: torch.dtype) -> None:
    weight = plain(*size, dtype).weight.detach().float()
    errors = [(plain_weight(in_few_bits(kind, *size, dtype=dtype)) - weight).norm() / weight.norm() for kind in BITS]
    assert errors[0] < 0.12
    assert errors[1] < 0.01


def test_weights_that_are_quantised_in_pieces_are_those_quantised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {kind: in_few_bits(kind, 96, 576).dequantised(torch.float32) for kind in KINDS}
    monkeypatch.setattr(layers, "AT_ONCE", layers.SCALES_BLOCK * layers.BLOCK)
    assert all(torch.equal(in_few_bits(kind, 96, 576).dequantised(torch.float32), whole[kind]) for kind in KINDS)


def test_nf4_takes_4_127_bits_a_weight() -> None:
    layer, num = in_few_bits("nf4", 1024, 1024), 1024 * 1024
    constants = 8 * (4 * 256 + 4)  # the levels of a scale, and what is added to it
    assert BITS["nf4"] == pytest.approx(4.127, abs=1e-3)
    assert 8 * num_bytes(layer) == BITS["nf4"] * num + constants


def test_a_layer_is_plain_again_with_whatever_hangs_on_it() -> None:
    layer = in_few_bits("nf4", 64, 32, dtype=torch.bfloat16)
    layer.register_module("hung", nn.Identity())
    weight = layer.dequantised(torch.bfloat16)
    make_plain(layer, weight)
    assert type(layer) is nn.Linear
    assert torch.equal(layer.weight, weight)
    assert set(layer.state_dict()) == {"weight", "bias"}
    assert not layer._buffers
    assert hasattr(layer, "hung")


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_weight_is_read_and_set_with_outputs_first(family: str) -> None:
    model = tiny(family)
    name = read(model).linears[0]
    layer, whole = model.get_submodule(name), model.get_submodule(name).weight.detach().clone()
    width_in, width_out = linear_sizes(layer)
    weight = plain_weight(layer)
    assert weight.shape == (width_out, width_in)
    set_plain_weight(layer, weight)
    assert torch.equal(layer.weight, whole)
    make_quantised(layer, "int8", "cpu")
    set_plain_weight(layer, weight)
    assert torch.equal(layer.weight, whole)


@every_kind
@every_family
def test_the_blocks_linear_layers_are_quantised_and_nothing_else(family: str, kind: Quantization) -> None:
    model, base = tiny(family), tiny(family)
    names = set(read(base).linears)
    notes = quantise(model, kind, device="cpu")
    assert {name for name, module in model.named_modules() if isinstance(module, layers.Quantised)} == names
    assert notes[0].startswith(f"quantised: {len(names)} linear layers are held in {kind}")
    assert read(model).roles == read(base).roles
    for name, parameter in model.named_parameters():
        is_quantised = name.removesuffix(".weight") in names and name.endswith(".weight")
        assert parameter.dtype == (torch.int8 if is_quantised else torch.float32)
        assert is_quantised or torch.equal(parameter, base.get_parameter(name))
    assert num_weights(model) == (base.num_parameters(), num_weights(model)[1])


@torch.no_grad()
def logits(model: PreTrainedModel) -> Tensor:
    return model.eval()(**batch(TASK, rows(6)).inputs).logits


@every_kind
@every_family
def test_a_quantised_model_answers_as_the_plain_one_of_its_weights(family: str, kind: Quantization) -> None:
    model, base = model_for(TASK, family), model_for(TASK, family)
    quantise(model, kind, device="cpu")
    found = logits(model)
    dequantise(model)
    assert not quantised(model)
    assert set(model.state_dict()) == set(base.state_dict())
    assert [type(module) for module in model.modules()] == [type(module) for module in base.modules()]
    assert torch.equal(logits(model), found)
    assert not torch.equal(found, logits(base))


def gradients(model: PreTrainedModel, checkpointing: Any = None) -> dict[str, Tensor]:
    model.train()
    model.zero_grad()
    with checkpointed(model, checkpointing):
        TASK.loss(model, batch(TASK, rows(6))).total.sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [None, "blocks", "selective"])
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5"])
def test_gradients_are_those_of_the_plain_weights(family: str, checkpointing: Any) -> None:
    off = {name: 0.0 for name in ("dropout_rate", "hidden_dropout_prob", "attention_probs_dropout_prob")}
    off |= {"resid_pdrop": 0.0, "attn_pdrop": 0.0, "embd_pdrop": 0.0}
    model = model_for(TASK, family, **off)
    quantise(model, "nf4", device="cpu")
    Lora(rank=4, bias="none" if family in ("llama", "t5") else "all").apply(model, generator=torch.Generator())
    for name, parameter in model.named_parameters():
        if name.endswith("lora.B"):
            parameter.data.normal_(generator=torch.Generator().manual_seed(len(name)))
    found = gradients(model, checkpointing)
    dequantise(model)
    expected = gradients(model)
    assert found.keys() == expected.keys()
    both = [torch.cat([each[name].flatten() for name in expected]) for each in (found, expected)]
    assert (both[0] - both[1]).norm() <= 1e-5 * both[1].norm()


def test_a_quantised_model_takes_rows_that_lie_flat() -> None:
    for dtype in DTYPES:
        model = model_for(TASK, "llama").to(dtype)
        quantise(model, "nf4", device="cpu")
        assert lay_flat(model)


@every_dtype
@every_kind
def test_what_is_not_quantised_is_held_as_asked(kind: Quantization, dtype: torch.dtype, tmp_path: Path) -> None:
    tiny("llama", head="base").save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    source = ModelSource(name=str(tmp_path), quantize=kind).settled("bf16" if dtype == torch.bfloat16 else "fp32")
    notes: list[str] = []
    model = load_model(source, Ask.of(TASK), device="cpu", seed=0, processor=load_tokenizer(source), notes=notes)
    assert {p.dtype for p in model.parameters()} == {dtype, torch.int8}
    assert "MB in place of" in notes[0]
    assert all(is_linear(layer) and not layer.weight.requires_grad for layer in quantised(model))
    assert model.dtype == dtype


def test_a_stated_dtype_stays() -> None:
    assert ModelSource(name="x", quantize="nf4", dtype="float32").settled("bf16").dtype == "float32"
    assert ModelSource(name="x").settled("bf16").dtype == "auto"


def test_a_model_whose_blocks_are_not_found_is_refused() -> None:
    with pytest.raises(ModelError, match=r"model\.quantize: nf4 is for the linear layers of blocks; XLNet"):
        quantise(tiny("xlnet"), "nf4", device="cpu")


def test_of_a_mixture_of_experts_it_is_said_that_these_stay_plain() -> None:
    assert "the experts' 98,304 weights are no linear layers" in quantise(tiny("mixtral"), "nf4", device="cpu")[1]


def test_without_bitsandbytes_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    with pytest.raises(MissingExtra, match=r"model\.quantize: nf4 needs .*pip install 'luthier\[quantize\]'"):
        ModelSource(name="x", quantize="nf4").require()
    ModelSource(name="x").require()


def test_bitsandbytes_is_imported_in_silence_and_fetches_no_kernel(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text("raise SystemExit('a kernel was asked for')\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from luthier.extras import bitsandbytes as b; b('x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.real
@pytest.mark.parametrize(("kind", "linears", "whole"), [("nf4", 0.27, 0.43), ("int8", 0.51, 0.61)])
def test_a_real_model_is_as_small_as_its_bits_say(kind: Quantization, linears: float, whole: float) -> None:
    assert GGUF.is_file(), "make models fetches it"
    from luthier.tasks.causal_lm import CausalLM

    source = ModelSource(name=str(GGUF), quantize=kind, dtype="bfloat16")
    model = load_model(source, Ask.of(CausalLM()), device="cpu", seed=0, processor=load_tokenizer(source))
    found = quantised(model)
    assert len(found) == 210
    of_linears = sum(map(num_bytes, found))
    numbers = sum(layer.in_features * layer.out_features for layer in found)
    rest = sum(p.nbytes for p in model.parameters() if p.dtype == torch.bfloat16)
    assert of_linears <= linears * 2 * numbers
    assert of_linears + rest <= whole * (2 * numbers + rest)
    ids = torch.arange(100, 140)[None]
    with torch.no_grad():
        answer = model(ids).logits
        dequantise(model)
        assert torch.equal(model(ids).logits, answer)
