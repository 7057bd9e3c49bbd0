"""AdamW with averages of 8 bits, quantised in blocks of 256. Dettmers et al. 2022, https://arxiv.org/abs/2110.02861."""

from typing import Annotated

import torch
from pydantic import Field

from luthier.errors import RecipeError
from luthier.extras import bitsandbytes, require
from luthier.methods import Group
from luthier.training.optimizers import Optimizer

NEEDED_FOR = "training.optimizer: adamw-8bit"


class AdamW8bit(Optimizer):
    """AdamW in two bytes a weight in place of eight; weights of fewer than 4,096 numbers keep full averages."""

    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    """How slowly the averages of the gradient and of its square forget."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of the second average."""
    paged: bool = False
    """Whether averages move to the host's memory while the GPU's is full; GPU only."""

    def require(self, device: str) -> None:
        require("bitsandbytes", extra="quantize", needed_for=NEEDED_FOR)
        if self.paged and device != "cuda":
            raise RecipeError("training.optimizer.paged: pages move between a GPU and its host; say false here")

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = bitsandbytes(NEEDED_FOR).optim.AdamW(
            self.options(groups),
            lr=0.0,
            betas=self.betas,
            eps=self.epsilon,
            optim_bits=8,
            is_paged=self.paged,
        )
        return made
