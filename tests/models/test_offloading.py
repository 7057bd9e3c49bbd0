"""Activations that wait elsewhere come back as they were; weights and small ones stay, and nothing is moved twice."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from luthier.models import offloading
from luthier.models.checkpointing import checkpointed
from luthier.models.dropout import fast_dropout
from luthier.models.offloading import offloaded
from tests.models.test_checkpointing import difference, inputs
from tests.tiny import tiny


@contextmanager
def moved(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Tensor]]:
    """What was packed; the hooks do on a CPU whatever they do on a GPU."""
    seen: list[Tensor] = []
    on_host = offloading._on_host

    def note(tensor: Tensor) -> Tensor:
        seen.append(tensor)
        return on_host(tensor)

    monkeypatch.setattr(offloading, "_on_host", note)
    monkeypatch.setattr(offloading, "SMALLEST_BYTES", 1)
    yield seen


@pytest.mark.parametrize("family", ["bert", "llama", "t5", "wav2vec2"])
@pytest.mark.parametrize("what", [None, "blocks", "selective"])
def test_gradients_are_the_same(family: str, what: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"mask_time_prob": 0.0, "layerdrop": 0.0} if family == "wav2vec2" else {}
    found = {}
    for is_offloaded in (False, True):
        model = tiny(family, head="base", **settings).double().train()
        torch.manual_seed(0)
        with moved(monkeypatch) as seen, checkpointed(model, what), fast_dropout("cpu"):  # type: ignore[arg-type]
            if is_offloaded:
                with offloaded(model):
                    loss = model(**inputs(model))["last_hidden_state"].square().sum()
            else:
                loss = model(**inputs(model))["last_hidden_state"].square().sum()
            assert bool(seen) == is_offloaded
            loss.backward()
        found[is_offloaded] = [p.grad for p in model.parameters() if p.grad is not None]
    assert difference(found[True], found[False]) <= 1e-14


def test_weights_stay_and_a_shared_input_is_moved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
    x = torch.randn(5, 8, requires_grad=True) * 1.0
    with moved(monkeypatch) as seen, offloaded(layers):
        sum(layer(x) for layer in layers).sum().backward()  # type: ignore[union-attr]
    assert [tensor.data_ptr() for tensor in seen] == [x.data_ptr()]


def test_what_was_changed_between_is_moved_again(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = [torch.randn(8, 8, requires_grad=True) for _ in range(2)]
    x = torch.ones(5, 8)
    with moved(monkeypatch) as seen, offloaded(nn.Linear(1, 1)):
        loss = (x @ weights[0]).sum()
        x.mul_(2)
        (loss + (x @ weights[1]).sum()).backward()
    assert len(seen) == 2
    assert [weight.grad[0, 0].item() for weight in weights if weight.grad is not None] == [5, 10]


def test_small_tensors_stay() -> None:
    weight = torch.randn(8, 8, requires_grad=True)
    kept = offloading._Host(offloading.WeakIdKeyDictionary()).pack(weight)
    assert kept is weight
