"""Full fine-tuning: every parameter learns. Devlin et al. 2019, https://arxiv.org/abs/1810.04805."""

from typing import ClassVar

import torch
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.methods import Method


class Full(Method):
    """Every parameter learns: the most capacity, the most memory, the most forgetting."""

    keeps_apart: ClassVar[bool] = False

    def learning_rate(self, facts: Facts) -> float:
        return 1e-4 if facts.num_parameters < 50e6 else 2e-5 if facts.num_parameters < 400e6 else 1e-5

    def apply(self, model: PreTrainedModel, *, generator: torch.Generator) -> None:
        model.requires_grad_(True).float()
