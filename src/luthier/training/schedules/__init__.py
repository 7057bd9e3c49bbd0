"""How the learning rate goes over a run. One file a schedule; this is the contract."""

from abc import ABC, abstractmethod
from typing import Annotated

from pydantic import Field

from luthier.component import Component


class Schedule(Component, ABC):
    """A warm-up, then a shape."""

    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.06
    """Share of the run during which the learning rate climbs from zero to its peak."""

    @abstractmethod
    def after_warmup(self, progress: float) -> float:
        """The factor when this share (0 to 1) of the steps after the warm-up is done."""

    def factor(self, step: int, num_steps: int) -> float:
        """What the peak learning rate is multiplied by at a step, counted from 0."""
        num_warmup = round(self.warmup * num_steps)
        if step < num_warmup:
            return (step + 1) / (num_warmup + 1)
        return self.after_warmup((step - num_warmup) / max(1, num_steps - num_warmup))
