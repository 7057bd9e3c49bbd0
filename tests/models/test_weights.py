"""Plain weights are put in place without losing what is smaller than their last digit."""

import torch
from torch import nn

from luthier.models.weights import plain_weight, rounded, set_plain_weight


def test_what_bf16_holds_stays_as_it_is() -> None:
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(rounded(weight.float(), torch.bfloat16), weight)


def test_an_update_below_the_last_digit_is_there_on_average_and_the_same_each_time() -> None:
    layer = nn.Linear(512, 512, bias=False).bfloat16()
    nn.init.constant_(layer.weight, -1.0)
    found = []
    for _ in range(2):
        update = torch.full((512, 512), 1e-3)  # bf16 counts by 0.004 below 1
        set_plain_weight(layer, -torch.ones(512, 512) + update)
        assert set(layer.weight.unique().tolist()) == {-1.0, -1.0 + 2**-8}
        torch.testing.assert_close(plain_weight(layer).mean() + 1, update.mean(), rtol=0.02, atol=0)
        found.append(layer.weight.detach().clone())
    assert torch.equal(*found)


def test_other_types_are_rounded_to_the_nearest() -> None:
    weight = torch.randn(8, 8)
    assert torch.equal(rounded(weight, torch.float32), weight)
    assert torch.equal(rounded(weight, torch.float16), weight.half())
