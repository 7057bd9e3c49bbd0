"""AdamW: Adam with decoupled weight decay. Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101."""

from typing import Annotated

import torch
from pydantic import Field

from luthier.methods import Group
from luthier.training.optimizers import Optimizer


class AdamW(Optimizer):
    """AdamW, fused into one kernel."""

    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    """How slowly the averages of the gradient and of its square forget."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of the second average."""

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.options(groups), lr=0.0, betas=self.betas, eps=self.epsilon, fused=True)
