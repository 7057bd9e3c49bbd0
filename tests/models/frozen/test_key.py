"""A frozen part's name: equal where its states are, whatever was digested before."""

import torch
from transformers import PreTrainedModel

from luthier.models.frozen.key import Digests, name_of, place_of
from luthier.models.frozen.points import find
from tests.models.frozen.freezing import TASK, learning, texts
from tests.tiny import tokenizer


def named(model: PreTrainedModel, known: Digests | None = None, *, arithmetic: str = "fp32") -> str:
    batch = texts([0, 1])
    part = find(model, lambda: TASK.loss(model, batch).total.sum())
    return name_of(model, part, tokenizer(), arithmetic, known)


def test_known_digests_are_filled_in_and_serve_again() -> None:
    model = learning("bert", "head")
    known: Digests = {place_of(tensor): None for tensor in model.parameters()}
    expected = named(model)
    assert named(model, known) == expected
    frozen = [place_of(tensor) for tensor in model.parameters() if not tensor.requires_grad]
    assert all(known[place] is not None for place in frozen)
    assert named(model, known) == expected
    assert named(model, {**known, frozen[0]: b"another"}) != expected, "what is known is not read again"
    assert named(model, {}) == expected, "what may change is not noted"


def test_a_frozen_weight_or_the_arithmetic_makes_another_name_and_what_learns_does_not() -> None:
    model = learning("bert", "head")
    before = named(model)
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).add_(1.0)
    assert named(model) == before
    assert named(model, arithmetic="bf16") != before
    with torch.no_grad():
        next(p for p in model.parameters() if not p.requires_grad).add_(1.0)
    assert named(model) != before
