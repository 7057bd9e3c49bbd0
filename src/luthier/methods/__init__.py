"""What is learnt, and what stays frozen. One file a method; this is the contract.

What a method inserts hangs on the layer it serves as a child module (`_parts.py`), so the base model keeps the names of
its parameters, its forward signature and its output shapes.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import ValidationError

from luthier import files
from luthier.component import Component, Facts
from luthier.data.places import public_name
from luthier.errors import MethodError

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedModel

    from luthier.data.batching import Batching
    from luthier.models.processor import Processor
    from luthier.tasks import Task

LEARNT_FILE, ABOUT_FILE = "learnt.safetensors", "luthier.json"
"""What was learnt, where PEFT has no files for it; and of which method and base it is, in every folder."""


@dataclass(frozen=True)
class Group:
    """Parameters that learn alike."""

    parameters: tuple[torch.nn.Parameter, ...]
    learning_rate_scale: float = 1.0
    weight_decay: bool = True
    starts_at_epoch: int = 0
    """Epochs for which they stay frozen: no gradient is computed for them until then."""


@dataclass(frozen=True)
class Stage:
    """What the training loop learns by."""

    task: Task
    """Whose loss."""
    batching: Callable[[Dataset, int, int], Batching] | None = None
    """The batches of prepared rows, by a batch's size and a seed; None: all rows once an epoch, in random order."""
    enough: float | None = None
    """A training loss, over the steps of a log line, from which nothing is left to be learnt; None: there is none."""
    is_judged: bool = True
    """Whether validation rows can judge it on its way; not where the model answers only once it is settled."""


class Method(Component, ABC):
    """What is learnt: which parameters, at which pace, and how it is kept."""

    keeps_apart: ClassVar[bool] = True
    """Whether what is learnt is worth a folder of its own beside the model (`adapter/`)."""

    takes_packed_rows: ClassVar[bool] = True
    """Whether several examples may share a row; else `task.packing: auto` packs none."""

    @property
    def positions_taken(self) -> int:
        """Positions that it takes from those which a row's tokens may have."""
        return 0

    @abstractmethod
    def learning_rate(self, facts: Facts) -> float:
        """The peak learning rate advised for a model of this size."""

    def extend(self, model: PreTrainedModel, processor: Processor) -> None:
        """Give model and tokenizer what they lack, in place and before any row is prepared: new tokens."""

    @abstractmethod
    def apply(self, model: PreTrainedModel, *, generator: torch.Generator) -> None:
        """Freeze and insert, in place; new parameters are drawn from the generator.

        Raises MethodError where the method does not suit the model.
        """

    def groups(self, model: PreTrainedModel) -> list[Group]:
        """The trainable parameters; biases and norms (vectors) are not decayed."""
        trainable = [p for p in model.parameters() if p.requires_grad]
        decayed = Group(tuple(p for p in trainable if p.ndim >= 2))
        plain = Group(tuple(p for p in trainable if p.ndim < 2), weight_decay=False)
        return [group for group in (decayed, plain) if group.parameters]

    def require(self, task: Task) -> None:
        """Raise RecipeError where it does not suit a task whose training rows were read."""

    def taught(self, rows: Dataset, task: Task) -> Dataset:
        """The training rows with what the method adds to them behind, if anything."""
        return rows

    def stage(self, task: Task) -> Stage:
        """What the loop learns by, of a resolved task; usually the task itself."""
        return Stage(task)

    def num_steps(self, facts: Facts) -> int | None:
        """The steps advised for the training rows; None: the usual number of epochs serves."""
        return None

    def settle(
        self, model: PreTrainedModel, task: Task, rows: Mapping[str, Dataset], processor: Processor, **how: Any
    ) -> list[str]:
        """Finish what was learnt, after the last step, by the prepared rows of each split; -> what a user should know.

        `how` says how many rows and tokens are computed at once.
        """
        return []

    def write(self, model: PreTrainedModel, task: Task, folder: Path) -> None:
        """Write the folded model's weights and configuration."""
        model.save_pretrained(folder)

    def reopen(self, model: PreTrainedModel, task: Task, folder: Path) -> None:
        """Put into a model that was loaded from such a folder what its plain weights lack."""

    def off(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        """The base model again, for as long as the context lasts.

        Raises MethodError where the method changes the base's own weights.
        """
        raise MethodError(f"method: {self.kind()} changes the base model itself, so it cannot be switched off")

    def fold(self, model: PreTrainedModel) -> None:
        """Turn what was inserted into plain weights, in place; a method that inserts nothing has nothing to do.

        Raises MethodError where the method has no plain form.
        """

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The settings of what is in a folder that `save` wrote, or PEFT where it has the method.

        Raises MethodError where the folder is of another method, or has a setting that this one lacks.
        """
        return cls.told(folder)

    @classmethod
    def told(cls, folder: Path) -> Self:
        """The settings that `luthier.json` holds; errors as `read`."""
        path = folder / ABOUT_FILE
        settings = dict(read_json(path).get("method", {}))
        if (kind := settings.pop("kind", None)) != cls.kind():
            raise MethodError(f"{path}: is of the method {kind}, not {cls.kind()}")
        try:
            return cls.model_validate_json(json.dumps(settings))
        except ValidationError as error:
            first = error.errors()[0]
            raise MethodError(f"{path}: method.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    def tell(self, folder: Path, base: str, base_sha256: Mapping[str, str] | None = None) -> None:
        """Write `luthier.json`: this method's settings, the base model's name and the fingerprints of its files."""
        settings = {"kind": self.kind(), **self.model_dump(mode="json")}
        files.write_json(folder / ABOUT_FILE, {"method": settings, "base": {"name": base, "sha256": base_sha256}})

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """Write what was learnt, and nothing else."""
        from safetensors.torch import save_file

        learnt = {name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}
        folder.mkdir(parents=True, exist_ok=True)
        save_file(learnt, folder / LEARNT_FILE, metadata={"format": "pt"})
        self.tell(folder, public_name(model.config._name_or_path))

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        """Read what `save` wrote into a model this method was applied to.

        Raises MethodError where it holds other parameters than learn there.
        """
        import torch
        from safetensors.torch import load_file

        path = folder / LEARNT_FILE
        places, learnt = {n: p for n, p in model.named_parameters() if p.requires_grad}, load_file(path)
        if odd := sorted(places.keys() ^ learnt.keys()):
            side = "has" if odd[0] in learnt else "lacks"
            raise MethodError(f"{path}: {side} {odd[0]}, and {len(odd) - 1} more do not fit this model")
        for name, tensor in learnt.items():
            if places[name].shape != tensor.shape:
                shapes = f"{tuple(tensor.shape)}, but this model needs {tuple(places[name].shape)}"
                raise MethodError(f"{path}: {name} has shape {shapes}")
        with torch.no_grad():
            for name, tensor in learnt.items():
                places[name].copy_(tensor)


def read_json(path: Path) -> dict[str, Any]:
    """A file's mapping.

    Raises MethodError where there is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MethodError(f"{path.parent}: holds no {path.name}") from None
    except (OSError, ValueError) as error:
        raise MethodError(f"{path}: cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise MethodError(f"{path}: holds no mapping")
    return content
