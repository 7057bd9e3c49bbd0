"""What is learnt, and what stays frozen. One file a method; this is the contract.

What a method inserts hangs on the layer it serves as a child module, so the base model keeps the names of its
parameters, its forward signature and its output shapes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from luthier.component import Component, Facts
from luthier.errors import MethodError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

LEARNT_FILE = "learnt.safetensors"


@dataclass(frozen=True)
class Group:
    """Parameters that learn alike."""

    parameters: tuple[torch.nn.Parameter, ...]
    learning_rate_scale: float = 1.0
    weight_decay: bool = True
    starts_at_step: int = 0


class Method(Component, ABC):
    """What is learnt: which parameters, at which pace, and how it is kept."""

    keeps_apart: ClassVar[bool] = True
    """Whether what is learnt is worth a folder of its own beside the model (`adapter/`)."""

    @abstractmethod
    def learning_rate(self, facts: Facts) -> float:
        """The peak learning rate advised for a model of this size."""

    @abstractmethod
    def apply(self, model: PreTrainedModel, *, generator: torch.Generator) -> None:
        """Freeze and insert, in place; new parameters are drawn from the generator."""

    def groups(self, model: PreTrainedModel) -> list[Group]:
        """The trainable parameters; biases and norms (vectors) are not decayed."""
        trainable = [p for p in model.parameters() if p.requires_grad]
        decayed = Group(tuple(p for p in trainable if p.ndim >= 2))
        plain = Group(tuple(p for p in trainable if p.ndim < 2), weight_decay=False)
        return [group for group in (decayed, plain) if group.parameters]

    def off(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        """The base model again, for as long as the context lasts.

        Raises MethodError where the method changes the base's own weights.
        """
        raise MethodError(f"method: {self.kind()} changes the base model itself, so it cannot be switched off")

    def fold(self, model: PreTrainedModel) -> None:
        """Turn what was inserted into plain weights, in place; a method that inserts nothing has nothing to do.

        Raises MethodError where the method has no plain form.
        """

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """Write what was learnt, and nothing else."""
        from safetensors.torch import save_file

        learnt = {name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}
        folder.mkdir(parents=True, exist_ok=True)
        save_file(learnt, folder / LEARNT_FILE, metadata={"format": "pt"})

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        """Read what `save` wrote into a model this method was applied to."""
        from safetensors.torch import load_file

        learnt = load_file(folder / LEARNT_FILE)
        missing = {name for name, p in model.named_parameters() if p.requires_grad} ^ learnt.keys()
        if missing:
            raise MethodError(f"{folder}: holds other parameters than {self.kind()} learns here: {min(missing)}")
        model.load_state_dict(learnt, strict=False)
