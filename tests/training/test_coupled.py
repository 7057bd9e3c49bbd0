"""A loss that couples the rows of a batch, in micro-batches: the whole gradient is that of the one big batch."""

from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor

from luthier.methods.full import Full
from luthier.tasks.sentence_similarity import SentenceSimilarity
from luthier.training.course import Material, course
from luthier.training.loop import TrainState, train
from luthier.training.settings import Training
from tests.contracts.examples.sentence_similarity import READY
from tests.tiny import texts, tiny, tokenizer
from tests.training.courses import settings, whole
from tests.training.test_accumulation import Catch

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
TASK = SentenceSimilarity(rows="pairs", objective="contrast", dimensions=(8, 32), **READY)
ROWS = Dataset.from_dict({"anchor": texts(12, longest=30), "positive": texts(12, seed=1)})


def one_step(dtype: torch.dtype, parts: int, precision: str = "fp32", **model: Any) -> tuple[Tensor, float]:
    """The whole gradient of a step, and its loss."""
    made, processor = tiny("bert", head="base", **model).to(dtype), tokenizer()
    prepared = TASK.prepare(ROWS, processor)
    cut = [TASK.collate(prepared[list(range(start, 12, parts))], processor) for start in range(parts)]
    asked = Training(steps=1, learning_rate=1.0, max_grad_norm=None, device="cpu", precision=precision)  # type: ignore[arg-type]
    learnt = [p for name, p in made.named_parameters() if "pooler" not in name]
    catch = Catch(learnt)
    state = TrainState.start(made, Full(), asked, 1)
    state.optimizer = catch
    (step,) = train(made, TASK, [whole(*cut)], asked, state)
    return torch.cat([gradient.flatten() for gradient in catch.caught]), float(step.loss)


@pytest.mark.parametrize("parts", [2, 3, 12])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_gradient_caching_gives_the_big_batchs_gradient(dtype: torch.dtype, bound: float, parts: int) -> None:
    expected, loss = one_step(dtype, 1, **STILL)
    found, again = one_step(dtype, parts, **STILL)
    assert torch.linalg.vector_norm(found - expected) <= bound * torch.linalg.vector_norm(expected)
    assert again == pytest.approx(loss, rel=bound)


def test_it_goes_with_bf16() -> None:
    expected, _ = one_step(torch.float32, 1, "bf16", **STILL)
    found, _ = one_step(torch.float32, 3, "bf16", **STILL)
    assert torch.linalg.vector_norm(found - expected) < 0.05 * torch.linalg.vector_norm(expected)


def test_dropout_is_drawn_the_same_both_times() -> None:
    """Else the gradient would be of other states than the loss is of: a step down it would not lower that loss."""
    gradient, _ = one_step(torch.float64, 3)
    again, _ = one_step(torch.float64, 3)
    assert torch.equal(gradient, again)
    still, _ = one_step(torch.float64, 3, **STILL)
    assert not torch.equal(gradient, still)
    assert torch.cosine_similarity(gradient, still, dim=0) > 0.5


def test_a_course_in_micro_batches_learns_what_one_in_whole_batches_learns() -> None:
    losses = []
    for cut in ({"micro_batch_tokens": None}, {"micro_batch_size": 3}, {"accumulation": 2}):
        processor = tokenizer()
        made = Material(tiny("bert", head="base", **STILL), processor, TASK, TASK.prepare(ROWS, processor), None)
        asked = settings(steps=4, batch_size=12, log_every=1, **cut)
        losses.append([r["loss"] for r in course(made, Full(), asked) if r["event"] == "step"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)
