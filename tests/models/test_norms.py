"""Root-mean-square norms against torch's own, and against the modules that they stand for."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

from luthier.models.arithmetic import computing
from luthier.models.norms import Norm, fused, norm_of
from tests.tiny import batch, classification, model_for, rows

WIDTH = 8
KINDS = {
    "Llama": (lambda: LlamaRMSNorm(WIDTH, eps=1e-5), Norm(1e-5, 0.0)),
    "T5": (lambda: T5LayerNorm(WIDTH), Norm(1e-6, 0.0)),
    "Gemma": (lambda: GemmaRMSNorm(WIDTH, eps=1e-6), Norm(1e-6, 1.0)),
    "torch": (lambda: nn.RMSNorm(WIDTH, eps=1e-4), Norm(1e-4, 0.0)),
}


class Doubled(LlamaRMSNorm):
    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(hidden_states)


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_a_norm_is_known_by_what_it_does(kind: str) -> None:
    make, norm = KINDS[kind]
    assert norm_of(make()) == norm
    assert norm_of(make().bfloat16()) == norm


@pytest.mark.parametrize("other", [nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH, bias=False), Doubled(WIDTH), nn.PReLU()])
def test_whatever_does_something_else_is_left_alone(other: nn.Module) -> None:
    assert norm_of(other) is None


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_torch(kind: str) -> None:
    make, norm = KINDS[kind]
    module, states = make(), drawn(2, 5, WIDTH, seed=0).requires_grad_()
    module.weight.data = drawn(WIDTH, seed=1)
    learnt, above = (states, module.weight), drawn(2, 5, WIDTH, seed=2)
    wanted = F.rms_norm(states, (WIDTH,), module.weight + norm.offset, norm.eps)
    with fused(nn.ModuleList([module])):
        found = module(states)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(answer, learnt, above) for answer in (found, wanted)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_module_is_what_it_was_afterwards() -> None:
    module = LlamaRMSNorm(WIDTH)
    with fused(nn.ModuleList([module])):
        assert "forward" in vars(module)
    assert "forward" not in vars(module)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "t5"])
def test_in_bf16_gradients_are_as_near_to_those_of_fp32_as_the_model_s_own(family: str) -> None:
    task = classification()
    model, given = model_for(task, family), batch(task, rows(9))
    norms = [module for module in model.modules() if "Norm" in type(module).__name__]
    assert all(norm_of(module) is not None for module in norms), "each is known"

    def gradient(precision: str, around: Any = nullcontext) -> torch.Tensor:
        model.zero_grad()
        with computing(model, precision) as forward, around(model), forward():
            task.loss(model, given).total.sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    exact = gradient("fp32")
    own, plain = ((gradient("bf16", around) - exact).norm() for around in (fused, nullcontext))
    assert 0 < own < 1.1 * plain
