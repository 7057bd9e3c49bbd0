"""Hyperband: brackets from many short runs to few long ones. Li et al. 2018, https://jmlr.org/papers/v18/16-558.html.

Bracket s = s_max, ..., 0 starts n = ceil((s_max + 1) / (s + 1) eta^s) trials at R / eta^s units, and one in eta goes on
from each rung. For R = 81 and eta = 3 that is n = 81, 34, 15, 8, 5, by the paper's algorithm; the table that it prints
rounds otherwise (81, 27, 9, 6, 5).

The paper repeats whole rounds for ever. Here the budget is known, as in SMAC (Lindauer et al. 2022,
https://jmlr.org/papers/v23/21-0888.html): as many whole rounds as it pays for, each trial going on from its checkpoint;
then the brackets of one more that still fit, the last with fewer trials; and what remains, less than a full run,
finishes the best that waits.
"""

from collections.abc import Sequence

from luthier.searching.schedulers._brackets import Bracket, Bracketed
from luthier.searching.schedulers._rounds import rounds
from luthier.trials.history import Terms


class Hyperband(Bracketed):
    """Halving from several rungs in turn, for when low rungs may mislead."""

    def plan(self, units: int, terms: Terms) -> Sequence[Bracket]:
        return rounds(units, terms)
