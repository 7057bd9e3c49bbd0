"""BOHB: Hyperband's brackets, whose trials a model proposes. Falkner et al. 2018, https://arxiv.org/abs/1807.01774.

The brackets are those of `hyperband`; the model is the sampler's matter. The paper's, a density of the good and one of
the bad trials of the highest rung with enough of them, is the sampler `tpe`, which `auto` chooses here.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from luthier.searching.schedulers._brackets import Bracket, Bracketed
from luthier.searching.schedulers._rounds import rounds
from luthier.trials.history import Terms


class Bohb(Bracketed):
    """Hyperband, with a model that proposes what starts."""

    advises: ClassVar[str | None] = "tpe"
    advises_with: ClassVar[Mapping[str, Any]] = MappingProxyType({"rungs": "highest"})

    def plan(self, units: int, terms: Terms) -> Sequence[Bracket]:
        return rounds(units, terms)
