"""Which settings are tried next. One file a sampler; this is the contract.

A sampler keeps no state: what it proposes depends on the space, the history and a seed, so that a search goes on from
its store alone, and any worker may ask.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from luthier.component import Component
from luthier.trials.history import History, Terms, Values
from luthier.trials.space import Space


class Sampler(Component, ABC):
    """Proposes the settings of the next trial."""

    learns: ClassVar[bool] = False
    """Whether it looks at what trials scored."""

    @abstractmethod
    def suggest(self, space: Space, history: History, *, seed: int) -> Values | None:
        """Values for a new trial. None: there is nothing left to try.

        `seed` is the search's own plus the new trial's number; those of two searches lie far apart. Trials may
        run still, have failed, or lack some values; the new one's number is that of trials so far.
        """

    def resolved(self, space: Space, terms: Terms) -> "Sampler":
        """The sampler that does it for this space and budget; usually this one."""
        return self
