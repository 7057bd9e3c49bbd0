"""How parameters move. One file an optimiser; this is the contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from luthier.component import Component

if TYPE_CHECKING:
    import torch

    from luthier.methods import Group


class Optimizer(Component, ABC):
    """An update rule and its settings; the learning rate is set by the loop, step by step."""

    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay; biases and norms are never decayed."""

    def options(self, groups: list[Group]) -> list[dict[str, Any]]:
        """The groups as torch wants them, with what the loop needs to set each one's learning rate."""
        return [
            {
                "params": list(group.parameters),
                "weight_decay": self.weight_decay if group.weight_decay else 0.0,
                "learning_rate_scale": group.learning_rate_scale,
                "starts_at_epoch": group.starts_at_epoch,
            }
            for group in groups
        ]

    def require(self, device: str) -> None:
        """Raise RecipeError where this kind of device does not serve, MissingExtra where a part is not installed."""

    @abstractmethod
    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """The torch optimiser over these groups."""
