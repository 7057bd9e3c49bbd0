"""The step within backward ends where the step after it ends, and holds one gradient at a time."""

from typing import Any

import pytest
import torch
from torch import nn

from luthier.errors import RecipeError
from luthier.methods import Method
from luthier.methods.full import Full
from luthier.methods.lora import Lora
from luthier.training.loop import TrainState, train
from luthier.training.settings import Training
from tests.tiny import batch, classification, model_for, rows
from tests.training.courses import whole

TASK = classification()
MADE = [batch(TASK, rows(8, seed=seed)) for seed in range(3)]
ALONE = {"fused_backward": True, "max_grad_norm": None}


def learn(
    family: str, method: Method, dtype: torch.dtype = torch.float64, **given: Any
) -> tuple[list[tuple[float, float]], dict[str, torch.Tensor], TrainState]:
    """Losses and norms of three steps, what was learnt, and the state."""
    model = model_for(TASK, family)
    method.apply(model, generator=torch.Generator().manual_seed(0))
    model.to(dtype)
    said = {"steps": 3, "learning_rate": 1e-2, "device": "cpu", "precision": "fp32", "max_grad_norm": None, **given}
    settings = Training.model_validate(said)
    state = TrainState.start(model, method, settings, 3)
    steps = list(train(model, TASK, [whole(each) for each in MADE], settings, state))
    assert all(p.grad is None and not p._post_accumulate_grad_hooks for p in model.parameters())
    told = [(step.loss.item(), step.grad_norm.item()) for step in steps]
    return told, {name: p.detach() for name, p in model.named_parameters()}, state


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adafactor"])
@pytest.mark.parametrize("method", [Full(), Lora(rank=2)], ids=["full", "lora"])
@pytest.mark.parametrize("family", ["bert", "albert", "gpt2", "t5"])
def test_it_equals_the_plain_run_without_clipping(family: str, method: Method, optimizer: str) -> None:
    plain, expected, _ = learn(family, method, optimizer=optimizer)
    told, found, _ = learn(family, method, optimizer=optimizer, fused_backward=True)
    assert all(one == pytest.approx(other, rel=1e-10) for one, other in zip(told, plain, strict=True))
    assert all(torch.allclose(found[name], p, rtol=1e-8, atol=1e-10) for name, p in expected.items())


@pytest.mark.parametrize("given", [{"precision": "bf16"}, {"checkpointing": "blocks"}, {"optimizer": "adamw-8bit"}])
def test_it_equals_the_plain_run_in_single_precision(given: dict[str, Any]) -> None:
    plain, expected, _ = learn("bert", Full(), torch.float32, **given)
    told, found, _ = learn("bert", Full(), torch.float32, fused_backward=True, **given)
    tolerance = 1e-2 if "precision" in given else 1e-5
    assert all(one == pytest.approx(other, rel=tolerance) for one, other in zip(told, plain, strict=True))
    moved = sum((found[name] - p).norm() for name, p in expected.items()) / sum(p.norm() for p in expected.values())
    assert moved < tolerance


def test_the_state_is_that_of_the_plain_optimiser() -> None:
    _, _, plain = learn("bert", Full())
    _, _, state = learn("bert", Full(), fused_backward=True)
    assert len(state.optimizer.param_groups) == len(plain.optimizer.param_groups)
    assert len(state.optimizer.state) == len(plain.optimizer.state)
    assert all(held["step"] == 3 for held in state.optimizer.state.values())


def test_no_more_than_one_gradient_is_held() -> None:
    model = model_for(TASK)
    settings = Training(steps=1, learning_rate=1e-2, device="cpu", precision="fp32", **ALONE)
    state, most = TrainState.start(model, Full(), settings, 1), 0

    def count(*_: Any) -> None:
        nonlocal most
        most = max(most, sum(p.grad is not None for p in model.parameters()))

    state.optimizer.register_step_pre_hook(count)
    list(train(model, TASK, [whole(MADE[0])], settings, state))
    assert most == 1


@pytest.mark.parametrize("in_loss", [True, False])
def test_no_parameter_becomes_no_number(in_loss: bool) -> None:
    model = model_for(TASK)

    def spoil(layer: nn.Module, _: Any, logits: torch.Tensor) -> torch.Tensor:
        if in_loss:
            return logits * float("nan")
        logits.register_hook(lambda gradient: gradient * float("nan"))
        return logits

    model.classifier.register_forward_hook(spoil)
    settings = Training(steps=1, learning_rate=1e-2, device="cpu", precision="fp32", **ALONE)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    (step,) = train(model, TASK, [whole(MADE[0])], settings, TrainState.start(model, Full(), settings, 1))
    assert not step.is_finite
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize(
    "given", [{}, {"max_grad_norm": 1.0}, {"accumulation": 2}, {"micro_batch_tokens": 64}, {"micro_batch_size": 4}]
)
def test_what_does_not_go_with_it_is_refused_in_words(given: dict[str, Any]) -> None:
    alone = {} if not given or "max_grad_norm" in given else {"max_grad_norm": None}
    with pytest.raises(ValueError, match=r"fused_backward (moves|needs)"):
        Training.model_validate({"fused_backward": True, **alone, **given})


def test_fp16_is_refused_in_words() -> None:
    with pytest.raises(RecipeError, match="fused_backward: fp16 needs the whole gradient"):
        Training.model_validate({**ALONE, "precision": "fp16"}).require("cuda")
