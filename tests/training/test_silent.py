"""What should learn and gets no gradient is named after the first steps: Luthier's own check of every method."""

from typing import Any

import pytest
import torch
from torch import nn

from luthier.errors import TrainingError
from luthier.methods import Method
from luthier.methods.full import Full
from luthier.methods.lora import Lora
from tests.training.courses import events, material, run


class Aside(Full):
    """Everything learns, and beside it a parameter that the model never looks at, or one that it multiplies by 0."""

    factor: float | None = None
    alone: bool = False

    def apply(self, model: Any, *, generator: torch.Generator) -> None:
        super().apply(model, generator=generator)
        model.requires_grad_(not self.alone)
        model.classifier.aside = nn.Parameter(torch.ones(3))
        if self.factor is not None:
            model.classifier.register_forward_hook(lambda m, args, out: out + self.factor * m.aside)


def told(method: Method) -> list[dict[str, Any]]:
    return events(run(material(method), method, steps=4), "silent")


@pytest.mark.parametrize("method", [Full(), Lora(rank=4)])
def test_nothing_is_told_where_every_tensor_gets_a_gradient(method: Method) -> None:
    assert told(method) == []


@pytest.mark.parametrize("factor", [None, 0.0])
def test_a_tensor_without_a_gradient_is_named_after_three_steps(factor: float | None) -> None:
    (record,) = told(Aside(factor=factor))
    assert (record["step"], record["tensors"]) == (3, ["classifier.aside"])
    assert "no gradient reached classifier.aside in the first 3 steps" in record["notes"][0]


def test_a_run_in_which_nothing_learns_ends_with_the_reason() -> None:
    with pytest.raises(TrainingError, match="nothing learns"):
        told(Aside(factor=0.0, alone=True))
    with pytest.raises(TrainingError, match="nothing that learns has a part in the loss"):
        told(Aside(alone=True))
