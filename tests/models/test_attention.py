"""Attention of flat rows against torch's own attention of each row alone."""

import pytest
import torch
from torch.nn import functional as F

from luthier.models import attention
from luthier.models.attention import How, Rows, attend

LENGTHS = (7, 3, 0, 8, 8, 1, 5)
"""Of rows; a text may have no token at all."""
WIDTH = 4


def states(num_heads: int, seed: int) -> torch.Tensor:
    """As layers make them: a transposed view."""
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(sum(LENGTHS), num_heads, WIDTH, dtype=torch.float64, generator=random)
    return drawn.transpose(0, 1).requires_grad_()


def one_by_one(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, how: How) -> torch.Tensor:
    answers = []
    lengths = [length for length in LENGTHS if length]
    for q, k, v in zip(*(each.split(lengths, dim=1) for each in (query, key, value)), strict=True):
        steps = torch.arange(q.shape[1])
        apart = steps[:, None] - steps
        seen = torch.ones_like(apart, dtype=torch.bool)
        if how.causal:
            seen &= apart >= 0
        if how.window is not None:
            seen &= apart.abs() < how.window
        answers.append(
            F.scaled_dot_product_attention(q[None], k[None], v[None], seen, scale=how.scale, enable_gqa=True)[0]
        )
    return torch.cat(answers, dim=1)


@pytest.mark.parametrize("longest", [512, 6])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kv_heads", [6, 2])
def test_each_row_sees_itself_alone(
    kv_heads: int, causal: bool, window: int | None, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "LONG", longest)
    query, key, value = states(6, 0), states(kv_heads, 1), states(kv_heads, 2)
    how = How(scale=0.3, dropout=0.0, causal=causal, window=window)
    found, wanted = attend(query, key, value, Rows(LENGTHS), how), one_by_one(query, key, value, how)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    above = torch.randn(wanted.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    gradients = [torch.autograd.grad(answer, (query, key, value), above) for answer in (found, wanted)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lengths", [(5, 5, 5), (9, 1), (4,), (8, 7, 6, 5, 4)])
def test_every_token_is_in_one_group(lengths: tuple[int, ...]) -> None:
    places = torch.cat([g.places.flatten() if g.is_real is None else g.places[g.is_real] for g in Rows(lengths).groups])
    assert sorted(places.tolist()) == list(range(sum(lengths)))


def test_dropout_keeps_the_mean_and_its_gradient_is_that_of_what_was_kept() -> None:
    query, key, value = states(6, 0), states(6, 1), states(6, 2)
    how = How(scale=0.3, dropout=0.4, causal=False, window=None)
    torch.manual_seed(0)
    dropped = [attend(query, key, value, Rows(LENGTHS), how) for _ in range(400)]
    plain = attend(query, key, value, Rows(LENGTHS), How(0.3, 0.0, False, None))
    error = (torch.stack(dropped).mean(0) - plain).abs().mean() / plain.abs().mean()
    assert error < 0.1, "400 draws"

    def answer(*given: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return attend(*given, Rows(LENGTHS), how)

    assert torch.autograd.gradcheck(answer, (query, key, value))
