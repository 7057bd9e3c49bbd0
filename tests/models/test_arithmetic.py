"""bf16 on copies: the gradient of torch's bf16 model, added up in fp32, and the weights untouched."""

import copy

import pytest
import torch
from torch import nn

from luthier.methods.lora import Lora
from luthier.models.arithmetic import computing, narrow, widen
from luthier.tasks._language import Generation, generate
from tests.tiny import batch, classification, model_for, rows, tiny


@pytest.mark.parametrize("family", ["bert", "llama", "albert", "t5", "deberta-v2"])
def test_loss_and_gradient_are_those_of_the_model_in_bf16(family: str) -> None:
    task = classification()
    model, given = model_for(task, family), batch(task, rows(9))
    other = copy.deepcopy(model)
    for parameter in other.parameters():  # buffers stay, as they do where transformers loads in bf16
        parameter.data = parameter.data.bfloat16()
    with computing(model, "bf16") as forward, forward():
        loss = task.loss(model, given).total.sum()
        loss.backward()
    wanted = task.loss(other, given).total.sum()
    wanted.backward()
    assert loss == wanted
    for (name, ours), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        assert ours.dtype == torch.float32
        if theirs.grad is not None:
            if "embed" in name or "shared" in name or "relative" in name:  # rows are added in fp32, there in bf16
                torch.testing.assert_close(ours.grad, theirs.grad.float(), rtol=2e-2, atol=2e-2)
            else:
                assert torch.equal(ours.grad, theirs.grad.float()), name


def test_micro_batches_add_up_in_fp32() -> None:
    task = classification()
    model, parts = model_for(task), [batch(task, rows(6, seed=seed)) for seed in range(3)]
    alone = []
    for part in parts:
        with computing(model, "bf16"):
            task.loss(model, part).total.sum().backward()
        alone.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        model.zero_grad()
    with computing(model, "bf16"):
        for part in parts:
            task.loss(model, part).total.sum().backward()
    for name, gradient in ((n, p.grad) for n, p in model.named_parameters() if p.grad is not None):
        wanted = sum((part[name] for part in alone[1:]), alone[0][name])
        torch.testing.assert_close(gradient, wanted, rtol=1e-6, atol=1e-6)


def test_weights_are_back_after_an_error_and_tied_ones_are_still_tied() -> None:
    model = tiny("gpt2", head="lm")
    before = list(model.parameters())
    with computing(model, "bf16"):
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
        assert model.get_input_embeddings().weight.dtype == torch.bfloat16
    with pytest.raises(TypeError), computing(model, "bf16"):
        model("no tokens")
    assert all(ours is theirs for ours, theirs in zip(model.parameters(), before, strict=True))


def test_a_frozen_weight_that_changes_gets_a_new_copy() -> None:
    layer = nn.Linear(2, 2).requires_grad_(False)
    with computing(layer, "bf16"):  # type: ignore[arg-type]
        first = layer.weight
    with computing(layer, "bf16"):  # type: ignore[arg-type]
        assert layer.weight is first, "a frozen weight is cast once"
    layer.weight.add_(1.0)
    with computing(layer, "bf16"):  # type: ignore[arg-type]
        assert layer.weight is not first
        second = layer.weight
    layer.weight.data = torch.full((2, 2), 3.0)
    with computing(layer, "bf16"):  # type: ignore[arg-type]
        assert layer.weight is not second
        assert layer.weight.tolist() == [[3.0, 3.0], [3.0, 3.0]]


def test_a_copy_made_in_an_evaluation_serves_training() -> None:
    task = classification()
    model, given = model_for(task), batch(task, rows(6))
    model.bert.requires_grad_(False)
    with torch.inference_mode(), computing(model, "bf16"):
        task.loss(model, given)
    with computing(model, "bf16"):
        task.loss(model, given).total.sum().backward()
    assert model.classifier.weight.grad is not None


def test_sound_is_heard_while_a_transcript_is_written() -> None:
    model = tiny("whisper", head="lm")
    sound = torch.randn(2, model.config.num_mel_bins, 2 * model.config.max_source_positions)
    with computing(model, "bf16"):
        written = generate(model, {"input_features": sound}, Generation(max_new_tokens=3))
    assert len(written) == 2


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "albert", "t5", "deberta-v2"])
def test_frozen_matrices_of_bf16_are_held_so_and_no_bit_changes(family: str) -> None:
    task = classification()
    model, given = model_for(task, family), batch(task, rows(9))
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().float()
    Lora(rank=2).apply(model, generator=torch.Generator().manual_seed(0))
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    frozen = {p for p in model.parameters() if not p.requires_grad and p.ndim > 1}
    told = []
    for held in ("wide", "narrow"):
        if held == "narrow":
            assert narrow(model) == 2 * sum(parameter.numel() for parameter in frozen) > 0
        with computing(model, "bf16") as forward, forward():
            loss = task.loss(model, given).total.sum()
            loss.backward()
        told.append([loss.detach(), *(p.grad for p in model.parameters() if p.requires_grad and p.grad is not None)])
        model.zero_grad()
    assert {p.dtype for p in frozen} == {torch.bfloat16}
    assert {p.dtype for p in model.parameters() if p not in frozen} == {torch.float32}
    assert all(torch.equal(*pair) for pair in zip(*told, strict=True))
    widen(model)
    assert all(torch.equal(p, before[name]) and p.dtype == torch.float32 for name, p in model.named_parameters())


def test_numbers_that_would_be_rounded_stay_in_fp32_and_tied_weights_tied() -> None:
    model = tiny("gpt2", head="lm").requires_grad_(False)
    words = model.get_input_embeddings().weight
    words.data[: len(words) // 2] = words.data[: len(words) // 2].bfloat16().float()
    assert narrow(model) == 0
    words.data = words.data.bfloat16().float()
    assert narrow(model) == 2 * words.numel()
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert words.dtype == torch.bfloat16
