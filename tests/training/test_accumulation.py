"""The gradient of accumulated micro-batches is that of the one big batch: all of it, however the rows are cut."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from luthier.methods.full import Full
from luthier.tasks import Batch
from luthier.tasks.text_classification import TextClassification
from luthier.training.loop import Step, TrainState, train
from luthier.training.settings import Training
from tests.tiny import PROBLEMS, classification, model_for, rows, tokenizer
from tests.training.courses import whole

NUM_ROWS = 24
NO_DROPOUT = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "llama": {},
    "t5": {"dropout_rate": 0.0},
}
ADORNED: dict[str, dict[str, Any]] = {
    "single-label": {"class_weights": (0.3, 1.0, 2.7), "label_smoothing": 0.1},
    "multi-label": {"class_weights": (0.3, 1.0, 2.7), "label_smoothing": 0.1},
    "regression": {},
}


class Catch(torch.optim.Optimizer):
    """Keeps a copy of the gradient that it is asked to follow, and follows nothing."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        super().__init__(parameters, {"learning_rate_scale": 1.0, "starts_at_epoch": 0})
        self.caught: list[Tensor] = []

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        self.caught = [p.grad.clone() for group in self.param_groups for p in group["params"]]


def micro_batches(task: TextClassification, num_parts: int) -> list[Batch]:
    """The same rows, of very uneven lengths, cut into parts as the course of a training cuts them."""
    processor = tokenizer()
    prepared = task.prepare(rows(NUM_ROWS, task.problem, longest=30), processor)
    parts = np.array_split(np.arange(NUM_ROWS), num_parts)
    return [task.collate(prepared[part], processor) for part in parts]


def one_step(
    family: str, problem: str, parts: int, dtype: torch.dtype, clip: float | None = None
) -> tuple[Tensor, Step]:
    """The whole gradient of one step, and what the loop told of it."""
    task = classification(problem, **ADORNED[problem])
    model = model_for(task, family, **NO_DROPOUT[family])
    Full().apply(model, generator=torch.Generator())
    model.to(dtype)
    settings = Training(steps=1, learning_rate=1.0, max_grad_norm=clip, device="cpu", precision="fp32")
    state = TrainState.start(model, Full(), settings, 1)
    state.optimizer = catch = Catch(list(model.parameters()))
    (step,) = train(model, task, [whole(*micro_batches(task, parts))], settings, state)
    return torch.cat([gradient.flatten() for gradient in catch.caught]), step


def difference(found: Tensor, expected: Tensor) -> float:
    """Relative, of the whole gradient."""
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("parts", [2, 4, 8, NUM_ROWS])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(
    ("family", "problem"),
    [*(("bert", problem) for problem in PROBLEMS), *((family, "single-label") for family in ("gpt2", "llama", "t5"))],
)
def test_accumulated_gradients_are_those_of_the_big_batch(
    family: str, problem: str, dtype: torch.dtype, tolerance: float, parts: int
) -> None:
    whole, step = one_step(family, problem, 1, dtype)
    accumulated, same = one_step(family, problem, parts, dtype)
    assert whole.dtype == dtype
    assert difference(accumulated, whole) < tolerance
    assert abs(same.loss / step.loss - 1) < tolerance
    assert abs(same.grad_norm / step.grad_norm - 1) < tolerance


@pytest.mark.parametrize("parts", [1, 4])
def test_the_gradient_is_that_of_torchs_mean_loss(parts: int) -> None:
    task = classification(**ADORNED["single-label"])
    model = model_for(task, "bert", **NO_DROPOUT["bert"]).double()
    (made,) = micro_batches(task, 1)
    logits = model(**made.inputs).logits
    weights = torch.tensor(ADORNED["single-label"]["class_weights"], dtype=torch.float64)
    loss = torch.nn.functional.cross_entropy(logits, made.targets, weights, label_smoothing=0.1)
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    found, step = one_step("bert", "single-label", parts, torch.float64)
    assert difference(found, expected) < 1e-12
    assert step.loss.item() == pytest.approx(loss.item(), rel=1e-12)
    assert step.grad_norm.item() == pytest.approx(expected.norm().item(), rel=1e-12)


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("share", [0.1, 10.0])
def test_clipping_is_torchs_on_the_mean_losss_gradient(parts: int, share: float) -> None:
    whole, step = one_step("bert", "single-label", 1, torch.float64)
    bound = share * step.grad_norm.item()
    parameter = torch.nn.Parameter(torch.zeros_like(whole))
    parameter.grad = whole.clone()
    torch.nn.utils.clip_grad_norm_(parameter, bound)
    found, clipped = one_step("bert", "single-label", parts, torch.float64, clip=bound)
    assert difference(found, parameter.grad) < 1e-12
    assert clipped.grad_norm.item() == pytest.approx(step.grad_norm.item())
    assert found.norm().item() == pytest.approx(min(bound, step.grad_norm.item()), rel=1e-4)
