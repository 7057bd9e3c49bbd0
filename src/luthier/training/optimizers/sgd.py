"""Stochastic gradient descent with momentum. Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html."""

from typing import Annotated

import torch
from pydantic import Field

from luthier.methods import Group
from luthier.training.optimizers import Optimizer


class SGD(Optimizer):
    """Gradient descent with momentum: one buffer a parameter, a larger learning rate than AdamW's."""

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Share of the last update that is kept."""

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.options(groups), lr=0.0, momentum=self.momentum, fused=True)
