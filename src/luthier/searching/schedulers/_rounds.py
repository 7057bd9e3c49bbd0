"""Hyperband's rounds, cut down to a known budget."""

from collections.abc import Sequence

from luthier.searching.schedulers._brackets import Bracket, widest
from luthier.trials.history import Terms


def round_of(terms: Terms) -> list[Bracket]:
    """The brackets of one round: for s = s_max, ..., 0 n = ceil((s_max + 1) / (s + 1) eta^s) trials from R / eta^s."""
    firsts = [1]
    while firsts[-1] < terms.horizon:
        firsts.append(firsts[-1] * terms.eta)
    num = len(firsts)  # s_max + 1
    return [
        Bracket(-(-num * (terms.horizon // first) // (num - place)), first, terms) for place, first in enumerate(firsts)
    ]


def rounds(units: int, terms: Terms) -> Sequence[Bracket]:
    """As many whole rounds as so many units pay for, then brackets of further ones while one finishes a trial.

    A bracket that is not paid for whole starts with as many trials as are, but not with fewer than eta^s, of which one
    is finished. Less than a full run is left.
    """
    found: list[Bracket] = []
    while units >= terms.horizon:
        for bracket in round_of(terms):
            if bracket.cost > units:
                cut = widest(bracket.first, units, terms)
                if cut is None:
                    continue
                bracket = cut
            found.append(bracket)
            units -= bracket.cost
    return found
