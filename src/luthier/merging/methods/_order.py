"""Exact order statistics of numbers that are seen in pieces and never held.

The bits of fp32 numbers of 0 or above are in the order of the numbers: one pass counts their upper halves, and a second
the lower halves where the places that are asked for lie.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_HALF = 2**16


def order_statistics(
    pieces: Callable[[], Iterable[Float[Tensor, "*shape"]]], places: Callable[[int], Sequence[int]]
) -> list[float]:
    """The numbers at these places, from 0 on, in ascending order; all are 0 or above, fp32, and not NaN.

    `pieces` is gone through twice; `places` is told how many numbers there are.
    """
    upper = np.zeros(_HALF, dtype=np.int64)
    for piece in pieces():
        upper += np.bincount(_bits(piece) >> 16, minlength=_HALF)
    wanted = places(int(upper.sum()))
    below = np.cumsum(upper)
    bins = [int(np.searchsorted(below, place, side="right")) for place in wanted]
    lower = {each: np.zeros(_HALF, dtype=np.int64) for each in bins}
    for piece in pieces():
        bits = _bits(piece)
        for each, counts in lower.items():
            within = bits[bits >> 16 == each]
            if len(within):
                counts += np.bincount(within & (_HALF - 1), minlength=_HALF)
    found = []
    for place, each in zip(wanted, bins, strict=True):
        before = int(below[each] - upper[each])
        low = int(np.searchsorted(np.cumsum(lower[each]), place - before, side="right"))
        found.append(float(np.array([(each << 16) | low], dtype=np.uint32).view(np.float32)[0]))
    return found


def _bits(piece: Tensor) -> np.ndarray:
    flat = piece.to(torch.float32).abs().reshape(-1).cpu().numpy()
    return flat.view(np.uint32)
