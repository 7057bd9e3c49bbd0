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

LEARNT, OPTIMIZER, BEST = "learnt", "optimizer", "best"
"""Names of the tensor files."""

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
    moving, plain = _optimizer_state(model, state)
    arrays = {LEARNT: _arrays(changing(model)), OPTIMIZER: _arrays(moving)}
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
    learnt = load_file(checkpoint.file(LEARNT))
    _put(learnt, changing(model), checkpoint)
    _restore_optimizer(load_file(checkpoint.file(OPTIMIZER)), content["optimizer"], model, state)
    state.set_counts(content["state"])
    state.scaler.load_state_dict(content["scaler"])
    if best is not None and content["best"] is not None:
        file = checkpoint.file(BEST)
        best.set_figures(content["best"], load_file(file) if file.is_file() else learnt)
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


def _optimizer_state(model: PreTrainedModel, state: TrainState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """`parameter/key` -> tensor, and -> what is no tensor."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    held = state.optimizer.state
    found = {f"{names[parameter]}/{key}": value for parameter in held for key, value in held[parameter].items()}
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in found.items() if name not in tensors}


def _restore_optimizer(
    tensors: Mapping[str, Tensor], plain: Mapping[str, Any], model: PreTrainedModel, state: TrainState
) -> None:
    by_parameter: dict[str, dict[str, Any]] = {}
    for path, value in {**tensors, **plain}.items():
        name, _, key = path.rpartition("/")
        by_parameter.setdefault(name, {})[key] = value
    names = {parameter: name for name, parameter in model.named_parameters()}
    ordered = [names[p] for group in state.optimizer.param_groups for p in group["params"]]
    numbered = {number: by_parameter[name] for number, name in enumerate(ordered) if name in by_parameter}
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": numbered})


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: _array(tensor.detach()) for name, tensor in tensors.items()}


def _array(tensor: Tensor) -> Array:
    plain = tensor.to("cpu").contiguous()
    return Array(DTYPES[tensor.dtype], tuple(tensor.shape), plain.reshape(-1).view(torch.uint8).numpy().data)
