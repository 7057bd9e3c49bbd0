"""A GPU's kernels, for a plan that is made where there is none.

Fake tensors lie on the CPU, whose attention and dropout keep other things for the backward pass: there the whole
attention matrix and a dropout mask of floats, on a GPU log-sums alone and a mask of bytes. FlashAttention: Dao 2023,
https://arxiv.org/abs/2307.08691.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F

from luthier.models import attention
from luthier.models.attention import HALVES, How, Run
from luthier.models.attention import attend_run as by_hand

aten = torch.ops.aten


@contextmanager
def kernels_of(device: str) -> Iterator[None]:
    """The context in which attention and dropout keep what they keep on a device of this kind.

    They are put in place rather than caught by a mode: what checkpointing computes again, no mode sees.
    """
    if device != "cuda":
        yield
        return
    with (
        mock.patch.object(F, "scaled_dot_product_attention", _attention),
        mock.patch.object(F, "dropout", _dropout),
        mock.patch.object(attention, "attend_run", _flat_attention),
    ):
        yield


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Scaled dot-product attention; a mask is read where it lies, and nothing of its size is kept."""
    answer: Tensor = aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, scale=scale)[0]
    return answer


def _flat_attention(query: Tensor, key: Tensor, value: Tensor, run: Run, how: How) -> Tensor:
    """Attention of flat rows: torch's varlen kernel, for what it takes."""
    if how.dropout or query.dtype not in HALVES:
        return by_hand(query, key, value, run, how)
    return _attention(query[None], key[None], value[None], is_causal=how.causal, scale=how.scale)[0]


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or p == 0:
        return x
    answer: Tensor = aten.native_dropout(x, p, True)[0]
    return answer
