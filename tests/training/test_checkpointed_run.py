"""A run that computes activations again learns what the run learns that keeps them."""

from typing import Any

import pytest
import torch

from luthier.methods import Method
from luthier.methods.full import Full
from luthier.methods.lora import Lora
from luthier.methods.partial import Partial
from luthier.models.flat_trial import lay_flat
from tests.training.courses import events, material, run
from tests.training.test_resume import weights

METHODS: dict[str, Method] = {"full": Full(), "lora": Lora(rank=2, dropout=0.1), "partial": Partial(train=("last-2",))}


@pytest.mark.parametrize("checkpointing", ["blocks", "attention", "selective", 2])
@pytest.mark.parametrize(
    ("precision", "is_flat", "method"),
    [("fp32", False, "partial"), ("fp32", True, "full"), ("bf16", False, "full"), ("bf16", True, "lora")],
)
def test_losses_and_weights_are_the_same(precision: str, is_flat: bool, method: str, checkpointing: Any) -> None:
    found = []
    for what in (None, checkpointing):
        made = material(METHODS[method], num_hidden_layers=2)
        if is_flat:
            assert lay_flat(made.model)
        given = {"steps": 3, "log_every": 1, "best": "last", "precision": precision, "checkpointing": what}
        records = run(made, METHODS[method], cache="off", micro_batch_tokens=20, **given)
        found.append(([record["loss"] for record in events(records, "step")], weights(made)))
    (losses, expected), (again, learnt) = found
    assert again == losses
    assert all(torch.equal(p, expected[name]) for name, p in learnt.items())
