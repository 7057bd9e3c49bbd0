"""Dropout at the speed of a CPU: the same distribution as torch's, from sixteen random bits an element.

torch draws one number an element on a CPU, which takes a fifth of a BERT's training step. Here one draw of 64 bits
serves four elements, so a probability is exact to 1 / 65,536, and the scale is that of the rounded probability:
the mean stays what it was. Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, no_type_check

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

LEVELS = 2**16


def fast_dropout(device: str) -> AbstractContextManager[object]:
    """The context in which every dropout of a model is a fast one; nothing where torch's own is fast already."""
    return _FastDropout() if device == "cpu" else nullcontext()


def dropout(
    x: Shaped[Tensor, "*shape"], p: float = 0.5, training: bool = True, inplace: bool = False
) -> Shaped[Tensor, "*shape"]:
    """`torch.nn.functional.dropout`, drawn from torch's global generator; `inplace` is not heeded."""
    if not training or not 0 < round(p * LEVELS) < LEVELS or x.numel() == 0:
        return F.dropout(x, p, training)
    return x * kept(x, p)


def kept(x: Shaped[Tensor, "*shape"], p: float) -> Shaped[Tensor, "*shape"]:
    """What dropout multiplies by: 0 with probability `p`, else 1 / (1 - p); of the shape and type of `x`, on a CPU."""
    dropped = round(p * LEVELS)
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    levels = words.view(torch.int16)[: x.numel()].view(x.shape)
    chosen = torch.ge(levels, dropped - LEVELS // 2, out=torch.empty(x.shape, dtype=x.dtype))
    return chosen.mul_(LEVELS / (LEVELS - dropped))


class _FastDropout(TorchFunctionMode):
    @no_type_check  # comes with every call of torch, a thousand a step: what checks types at run time has no place here
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return (dropout if func is F.dropout else func)(*args, **(kwargs or {}))
