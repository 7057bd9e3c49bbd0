"""Half a cosine: (1 + cos(pi progress)) / 2. Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983."""

import math
from typing import Annotated

from pydantic import Field

from luthier.training.schedules import Schedule


class Cosine(Schedule):
    """Warm-up, then half a cosine down to `floor`."""

    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the peak at which the run ends."""

    def after_warmup(self, progress: float) -> float:
        return self.floor + (1.0 - self.floor) * (1.0 + math.cos(math.pi * progress)) / 2.0
