"""The ledger: what lived when, and what it was for."""

import torch

from luthier.planning.ledger import Ledger, largest, total


def test_what_was_freed_is_in_no_later_peak() -> None:
    ledger = Ledger()
    first = torch.empty(100)
    ledger.enter(first, "weights")
    second = torch.empty(50)
    ledger.enter(second)
    del second
    mark = ledger.now()
    third = torch.empty(10)
    ledger.enter(third, "logits")
    assert total(ledger.peak()) == 600
    assert ledger.peak(since=mark) == ledger.peak(since=mark) | {"weights": 400, "activations": 0, "logits": 40}
    assert total(ledger.peak(until=1)) == 400


def test_views_are_counted_once() -> None:
    ledger, tensor = Ledger(), torch.empty(4, 4)
    ledger.enter(tensor)
    ledger.enter(tensor.T)
    ledger.enter(tensor[0])
    assert total(ledger.peak()) == 64


def test_what_a_tensor_is_for_may_be_said_later() -> None:
    ledger, tensor = Ledger(), torch.empty(8)
    ledger.enter(tensor)
    ledger.say(tensor, "gradients")
    assert ledger.part_of(tensor) == "gradients"
    assert ledger.peak()["gradients"] == 32
    assert ledger.peak()["activations"] == 0


def test_of_several_moments_the_largest_is_taken() -> None:
    assert largest([{"weights": 1}, {"weights": 3}, {"weights": 2}]) == {"weights": 3}
