"""Successive halving: one in eta goes on from each rung. Jamieson and Talwalkar 2016, https://arxiv.org/abs/1502.07943.

One bracket for the whole budget: as many trials start at the lowest rung as it pays for, exactly, each going on from
its checkpoint. A budget that would finish none of them starts fewer at a higher rung. A rung is complete when all of it
are judged; workers wait for the slowest. What failed trials leave goes into a further bracket, and a remainder of less
than a full run finishes the best that waits.
"""

from collections.abc import Sequence

from luthier.searching.schedulers._brackets import Bracket, Bracketed, widest
from luthier.trials.history import Terms


class Halving(Bracketed):
    """All start short; of those at each rung the best one in eta goes on."""

    def plan(self, units: int, terms: Terms) -> Sequence[Bracket]:
        first = 1
        while first <= terms.horizon:
            if bracket := widest(first, units, terms):
                return [bracket]
            first *= terms.eta
        return []
