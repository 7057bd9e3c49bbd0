"""Recall at k: of what is relevant, the share among the first k, of k at most. Manning, Raghavan and Schütze 2008,
https://nlp.stanford.edu/IR-book/."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from luthier.evaluation.metrics._places import OfPlaces


class RecallAt(OfPlaces):
    """How much of what is relevant stands at the top."""

    k: Annotated[int, Field(gt=0, le=100)] = 1
    """Places that are looked at."""

    @property
    def name(self) -> str:
        return f"recall-at-{self.k}"

    def of(self, places: Sequence[int], num: int) -> float:
        return sum(place <= self.k for place in places) / min(num, self.k)
