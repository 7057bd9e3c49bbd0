"""Normalised discounted cumulative gain: the sum of 1 / log2(1 + place) over what is relevant among the first k, over
what it would be with all of that at the top. Järvelin and Kekäläinen 2002, https://doi.org/10.1145/582415.582418."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from luthier.evaluation.metrics._places import OfPlaces


class Ndcg(OfPlaces):
    """How near the top everything relevant is: 1 is all of it first, 0 none of it in sight."""

    k: Annotated[int, Field(gt=0, le=100)] = 10
    """Places that are looked at."""

    @property
    def name(self) -> str:
        return f"ndcg-at-{self.k}"

    def of(self, places: Sequence[int], num: int) -> float:
        discounts = 1 / np.log2(1 + np.arange(1, self.k + 1))
        here = np.array([place for place in places if place <= self.k], int)
        return float(discounts[here - 1].sum() / discounts[:num].sum())
