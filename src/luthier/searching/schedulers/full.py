"""Every trial runs to its end, as in random search. Bergstra and Bengio 2012, https://jmlr.org/papers/v13/bergstra12a.html.

The yardstick of all others: nothing is judged before it is whole, so nothing is misjudged.
"""

from collections.abc import Iterator

from luthier.searching.schedulers import Begin, Promote, Scheduler
from luthier.searching.schedulers._ends import within_reach
from luthier.trials.history import History, Terms


class Full(Scheduler):
    """Every trial to its full length."""

    def options(self, history: History, terms: Terms) -> Iterator[Begin | Promote]:
        yield Begin(within_reach(terms).horizon)
