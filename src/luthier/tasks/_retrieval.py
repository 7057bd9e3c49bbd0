"""What sentence vectors find: each text asks for those that belong to it, among all of a split.

The similarities of a piece of the texts to all candidates are there at once, never those of all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from luthier.tasks import Loss, Prediction
from luthier.tasks._similarity import Compared

AT_ONCE = 512
"""Texts that ask at once."""
DEEPEST = 100
"""Places that are looked at: a text that is found further down counts as not found."""


class Asks(Protocol):
    """How texts of a whole are compared with it, and the loss of that."""

    def __call__(
        self, states: Float[Tensor, "rows texts width"], targets: Shaped[Tensor, "rows ..."], part: slice
    ) -> tuple[Compared, Loss]: ...


def found(
    predictions: Sequence[Prediction],
    states: Float[Tensor, "rows texts width"],
    targets: Shaped[Tensor, "rows ..."],
    ask: Asks,
) -> Iterator[Prediction]:
    """Each row's prediction with its loss among all rows, and as its value how many texts are relevant to it and at
    which places, from 1, it finds them."""
    for start in range(0, len(states), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        compared, loss = ask(states, targets, part)
        nums = compared.relevant.sum(-1).tolist()
        rows = zip(predictions[part], places(compared), nums, loss.total.tolist(), loss.count.tolist(), strict=True)
        for prediction, ranks, num, total, count in rows:
            yield replace(prediction, value={"relevant": num, "places": ranks}, loss=total, count=count)


def places(compared: Compared) -> list[list[int]]:
    """Where each text's relevant candidates stand, the most similar first; equal ones as if the wrong were first."""
    similarity = compared.similarity.masked_fill(compared.left_out, -torch.inf)
    tie_break = torch.finfo(similarity.dtype).eps * compared.relevant
    num = min(DEEPEST, similarity.shape[1])
    order = (similarity - tie_break).topk(num, -1).indices
    hits = compared.relevant.gather(1, order)
    return [(row.nonzero()[:, 0] + 1).tolist() for row in hits]
