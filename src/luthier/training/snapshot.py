"""What changes during a run, as arrays and JSON, and back: what is learnt, the optimiser, the best state, the clock.

Nothing random is kept: the order of rows and the draws of dropout are functions of the seed and the step.
"""

from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from luthier.errors import RunError
from luthier.training.best import Best, changing
from luthier.training.checkpoints import Array, Checkpoint
from luthier.training.clock import Clock
from luthier.training.loop import TrainState

LEARNT, BEST, OPTIMIZER = "learnt", "best", "optimizer-"
"""Names of the tensor files; of the optimiser's, the beginning: each of its averages has a file."""

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Safetensors' names."""

Arrays = dict[str, dict[str, Array]]


def capture(
    model: PreTrainedModel, state: TrainState, best: Best | None, clock: Clock
) -> tuple[Arrays, dict[str, Any]]:
    """All that a run needs to go on as if it had never stopped: tensors by file, and what is no tensor."""
    averages, plain = _optimizer_state(model, state)
    arrays = {LEARNT: _arrays(changing(model)), **{OPTIMIZER + key: _arrays(each) for key, each in averages.items()}}
    if best is not None and best.learnt and best.step != state.step:  # else it is what is learnt
        arrays[BEST] = _arrays(best.learnt)
    content = {
        "state": state.counts(),
        "scaler": state.scaler.state_dict(),
        "optimizer": plain,
        "best": best.figures() if best is not None else None,
        "clock": clock.figures(),
    }
    return arrays, content


def restore(checkpoint: Checkpoint, model: PreTrainedModel, state: TrainState, best: Best | None, clock: Clock) -> None:
    """Put everything back in place.

    Raises RunError where the checkpoint holds another model or method's parameters.
    """
    content = checkpoint.content
    tensors = {name: load_file(path) for name, path in checkpoint.tensor_files.items()}
    _put(tensors[LEARNT], changing(model), checkpoint)
    averages = {name.removeprefix(OPTIMIZER): each for name, each in tensors.items() if name.startswith(OPTIMIZER)}
    _restore_optimizer({**averages, **content["optimizer"]}, model, state)
    state.set_counts(content["state"])
    state.scaler.load_state_dict(content["scaler"])
    if best is not None and content["best"] is not None:
        best.set_figures(content["best"], tensors.get(BEST, tensors[LEARNT]))
    clock.set_figures(content["clock"])


def size_bytes(model: PreTrainedModel) -> int:
    """What a checkpoint takes at most: what is learnt, the best of it, and two averages of an optimiser like Adam."""
    return 4 * sum(tensor.nbytes for tensor in changing(model).values())


@torch.no_grad()
def _put(tensors: Mapping[str, Tensor], places: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    odd = tensors.keys() ^ places.keys() or {n for n in places if places[n].shape != tensors[n].shape}
    if odd:
        raise RunError(f"{checkpoint.folder}: does not fit this model and method: {min(odd)}; it cannot be resumed")
    for name, place in places.items():
        place.copy_(tensors[name])


Averages = dict[str, dict[str, Tensor]]


def _optimizer_state(model: PreTrainedModel, state: TrainState) -> tuple[Averages, dict[str, dict[str, Any]]]:
    """Key -> parameter's name -> value, for tensors and for what is none."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    tensors: Averages = {}
    plain: dict[str, dict[str, Any]] = {}
    for parameter, held in state.optimizer.state.items():
        for key, value in held.items():
            found: dict[str, dict[str, Any]] = tensors if isinstance(value, Tensor) else plain
            found.setdefault(key, {})[names[parameter]] = value
    return tensors, plain


def _restore_optimizer(held: Mapping[str, Mapping[str, Any]], model: PreTrainedModel, state: TrainState) -> None:
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    ordered = [names[p] for group in state.optimizer.param_groups for p in group["params"]]
    numbered = {
        number: {key: values[name] for key, values in held.items() if name in values}
        for number, name in enumerate(ordered)
        if any(name in values for values in held.values())
    }
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": numbered})


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: _array(tensor.detach()) for name, tensor in tensors.items()}


def _array(tensor: Tensor) -> Array:
    plain = tensor.to("cpu").contiguous()
    return Array(DTYPES[tensor.dtype], tuple(tensor.shape), plain.reshape(-1).view(torch.uint8).numpy().data)
