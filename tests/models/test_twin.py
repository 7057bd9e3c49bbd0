"""A twin stands on its base's tensors, and leaves them as they are."""

from typing import cast

import torch
from torch import nn

from luthier.models.arithmetic import narrow
from luthier.models.twin import narrow_too, own_what_learns, twin_of
from tests.tiny import tiny


def places(model: nn.Module) -> dict[str, int]:
    return {name: parameter.data_ptr() for name, parameter in model.named_parameters()}


def test_a_twin_takes_no_memory_but_for_what_learns() -> None:
    base = tiny("bert", head="base")
    twin = twin_of(base)
    assert places(twin) == places(base)
    twin.requires_grad_(False)
    learning = "encoder.layer.0.output.dense.weight"
    twin.get_parameter(learning).requires_grad_(True)
    own_what_learns(twin, base)
    assert {name for name, place in places(twin).items() if place != places(base)[name]} == {learning}
    assert torch.equal(twin.get_parameter(learning), base.get_parameter(learning))


def test_what_a_twin_learns_replaces_or_wakes_is_its_own() -> None:
    base = tiny("bert", head="base")
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    twin = twin_of(base)
    own_what_learns(twin, base)
    twin.train()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    twin.pooler = nn.Identity()
    assert not base.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())


def test_tied_weights_stay_tied() -> None:
    twin = twin_of(tiny("gpt2", head="lm"))
    assert twin.get_input_embeddings().weight is cast(nn.Linear, twin.get_output_embeddings()).weight


def test_a_base_is_narrowed_with_its_twin_and_widened_where_another_one_learns() -> None:
    base = tiny("bert", head="base")
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.copy_(parameter.to(torch.bfloat16))
    before = {name: parameter.clone() for name, parameter in base.named_parameters()}
    first = twin_of(base)
    first.requires_grad_(False)
    assert narrow(first) > 0
    assert narrow_too(base, first)
    assert not narrow_too(base, first), "it is narrow already"
    assert places(base) == places(first)
    second = twin_of(base)
    own_what_learns(second, base)
    for name, parameter in second.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, before[name])
