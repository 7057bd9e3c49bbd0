"""Several runs on one base in memory: each request is answered by the run that it is for.

Every run keeps a model of its own, with its head and whatever hangs on its layers, but the weights that it left as they
were are those of the first run: the same tensors, not equal ones. So switching costs nothing, and a further run takes
no more memory than what it learnt.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from luthier.errors import RunError
from luthier.methods._mixing import mix
from luthier.run import Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from luthier.models.processor import Processor


class Held(Run):
    """A run whose model is loaded already."""

    def __init__(self, run: Run, model: "PreTrainedModel", processor: "Processor") -> None:
        super().__init__(run.folder)
        self._held = model, processor

    def load(self, device: str = "auto") -> "tuple[PreTrainedModel, Processor]":
        """The model that it was given, where it is."""
        return self._held


class Shared(Mapping[str, Held]):
    """Runs by name, on one base."""

    def __init__(self, runs: Mapping[str, Held], shared_bytes: int) -> None:
        self._runs = dict(runs)
        self.shared_bytes = shared_bytes
        """What is held once in place of several times."""

    def __getitem__(self, name: str) -> Held:
        return self._runs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def mixed(self, weights: Mapping[str, float]) -> Held:
        """The first of these runs with the weighted sum of the low-rank updates of all; its head stays its own.

        Raises RunError where a run learnt otherwise, MethodError where its updates are no sum.
        """
        for name in weights:
            if (kind := self[name].recipe.method.kind()) != "lora":
                raise RunError(f"{self[name].folder}: its method is {kind}; only runs of lora can be mixed")
        models = [self[name].load()[0] for name in weights]
        first = self[next(iter(weights))]
        model, processor = first.load_apart(models[0].device.type)
        _share(models[0], model)
        mix(model, models, list(weights.values()))
        return Held(first, model, processor)


def share(runs: Sequence[str | Path] | Mapping[str, str | Path], *, device: str = "auto") -> Shared:
    """Load several finished runs of one base, whose weights are then in memory once; runs go by their folders' names.

    While a run joins, its base is read anew, and let go at once. Raises RunError where two go by one name, where a run
    keeps nothing apart from its base, or has not a single weight of the first one's.
    """
    named = runs if isinstance(runs, Mapping) else {Path(folder).name: folder for folder in runs}
    if len(named) < len(runs):
        raise RunError("share: two of the folders have one name; give each run a name, as {'spam': 'runs/a/run'}")
    held, saved = dict[str, Held](), 0
    for name, folder in named.items():
        run = Run.open(folder)
        model, processor = run.load_apart(device)
        if held:
            first = next(iter(held.values()))
            found = _share(first.load()[0], model)
            if not found:
                raise RunError(f"{folder}: has no weight in common with {first.folder}; their base is not the same")
            saved += found
        held[name] = Held(run, model, processor)
    return Shared(held, saved)


def _share(first: nn.Module, other: nn.Module) -> int:
    """Give `other` the very tensors of `first` wherever both are frozen, equal and of one name; -> bytes it lets go."""
    there = dict(first.named_parameters(remove_duplicate=False))
    released = dict[int, int]()
    for name, parameter in list(other.named_parameters(remove_duplicate=False)):
        if name in there and _is_same(there[name], parameter):
            owner, _, leaf = name.rpartition(".")
            other.get_submodule(owner)._parameters[leaf] = there[name]
            released[id(parameter)] = parameter.nbytes
    return sum(released.values())


def _is_same(one: Tensor, other: Tensor) -> bool:
    alike = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
    return alike and not (one.requires_grad or other.requires_grad) and torch.equal(one, other)
