"""Adafactor: Adam's second average kept as one number a row and one a column.

Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235. The paper sets its own pace, by the step and by each weight's
size; here the pace is `training.learning_rate` and its schedule, as for every other optimiser, and AdamW's rates serve.
"""

from typing import Annotated, Any

import torch
from pydantic import Field
from transformers import Adafactor as TransformersAdafactor

from luthier.methods import Group
from luthier.training.optimizers import Optimizer


class Adafactor(Optimizer):
    """Adafactor without a first average: next to no memory beside the weights."""

    decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    """How soon the average of the squared gradient slows down: at step t it forgets 1 / t^decay."""
    clip_update: Annotated[float, Field(gt=0)] = 1.0
    """Largest root mean square of a weight's update before the learning rate; larger ones are shortened to it."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-30
    """Added to the squared gradient."""

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        of_transformers: Any = TransformersAdafactor
        built: torch.optim.Optimizer = of_transformers(
            self.options(groups),
            lr=0.0,
            eps=(self.epsilon, 1e-3),
            clip_threshold=self.clip_update,
            decay_rate=-self.decay,
            scale_parameter=False,
            relative_step=False,
        )
        return built
