"""A model whose blocks' linear layers are held in few bits (model.quantize); all else of it stays as it was loaded.

A layer is quantised after the other, and each takes the place of the plain one, so no more than one weight is held
twice. Embeddings, norms, biases and the head are not quantised.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.errors import MethodError, ModelError
from luthier.models.anatomy import Anatomy, read
from luthier.models.quantised import PLAIN, Quantised, Quantization, make_plain, make_quantised
from luthier.models.weights import plain_weight

MB = 10**6


def quantise(model: PreTrainedModel, kind: Quantization, *, device: str) -> list[str]:
    """Hold the blocks' linear layers in few bits, on a device; -> what a user should know of it.

    Raises ModelError where the model has no such layers, MissingExtra where bitsandbytes is not installed.
    """
    try:
        anatomy = read(model)
    except ModelError as error:
        raise ModelError(f"model.quantize: {kind} is for the linear layers of blocks; {error} (say none)") from None
    tied = {name for group in anatomy.tied for name in group}
    names = [name for name in anatomy.linears if f"{name}.weight" not in tied]
    layers = [layer for name in names if type(layer := model.get_submodule(name)) in PLAIN]
    if not layers:
        kinds = sorted({type(model.get_submodule(name)).__name__ for name in anatomy.linears})
        raise ModelError(f"model.quantize: {type(model).__name__} has no plain linear layers, but {kinds} (say none)")
    before = sum(layer.get_parameter("weight").nbytes for layer in layers)
    for layer in layers:
        make_quantised(layer, kind, device)
    after = sum(num_bytes(layer) for layer in quantised(model))
    told = f"quantised: {len(layers)} linear layers are held in {kind}, {after / MB:,.1f} MB"
    return [f"{told} in place of {before / MB:,.1f} MB", *_left_out(model, anatomy)]


def quantised(model: nn.Module) -> list[Quantised]:
    """The layers that are held in few bits."""
    return [module for module in model.modules() if isinstance(module, Quantised)]


def num_bytes(layer: Quantised) -> int:
    """What a quantised weight takes, its scales with it."""
    scales = [buffer for buffer in layer._buffers.values() if buffer is not None]
    return sum(tensor.nbytes for tensor in (layer.weight, *scales))


def num_weights(model: nn.Module) -> tuple[int, int]:
    """Numbers that a model's parameters stand for, in all and of those that learn; a byte may hold two."""
    packed: dict[Tensor, int] = {layer.weight: layer.in_features * layer.out_features for layer in quantised(model)}
    sizes = [(packed.get(parameter, parameter.numel()), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)


@torch.no_grad()
def dequantise(model: nn.Module) -> None:
    """A plain model again, in place, of the weights that were computed with."""
    for layer in quantised(model):
        make_plain(layer, plain_weight(layer))


@contextmanager
def staying_frozen(model: nn.Module, method: str) -> Iterator[None]:
    """Within it a method is applied: a MethodError where it would have quantised weights learn.

    They are held as whole numbers, so torch itself refuses that they get a gradient.
    """
    try:
        yield
    except RuntimeError as error:
        layers = quantised(model)
        if not layers or "require gradients" not in str(error):
            raise
        raise MethodError(
            f"method: {method} would have weights learn, which model.quantize={layers[0].kind} holds in few bits; "
            "say model.quantize=none, or a method that learns beside such layers (method=lora), or other parts than "
            "linear layers of blocks (head, norm, bias)"
        ) from error


def _left_out(model: PreTrainedModel, anatomy: Anatomy) -> list[str]:
    """Weights that one would take for quantised: a mixture's experts are no linear layers."""
    experts = [model.get_submodule(name) for name in anatomy.roles.get("feed-forward.experts", ())]
    num = sum(parameter.numel() for module in experts for parameter in module.parameters())
    return [f"quantised: the experts' {num:,} weights are no linear layers and stay as they are"] if num else []
