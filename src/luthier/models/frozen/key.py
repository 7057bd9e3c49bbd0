"""What the states of a frozen part depend on beside the rows, as one name: states of an equal name serve other runs."""

import hashlib
from collections.abc import Hashable
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from luthier.models.frozen.points import FrozenPart
from luthier.models.processor import Processor

Digests = dict[Hashable, bytes | None]
"""Of tensors that stay as they are while this is kept, by `place_of`; None where it is not known yet."""


def name_of(
    model: PreTrainedModel, part: FrozenPart, processor: Processor, arithmetic: str, known: Digests | None = None
) -> str:
    """A digest of all that does not learn, the points, how sound becomes features, the arithmetic and its libraries.

    `known` digests of tensors serve again; those that it has a place for and does not know yet are filled in.
    """
    known = {} if known is None else known
    config = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
    extractor: Any = getattr(processor, "feature_extractor", None)
    named = {module: name for name, module in model.named_modules()}
    told = (
        torch.__version__,
        transformers.__version__,
        type(model).__name__,
        sorted(config.items(), key=str),
        [named[point.module] for point in part.points],
        extractor.to_dict() if extractor is not None else None,
        arithmetic,
    )
    digest = hashlib.blake2b(repr(told).encode(), digest_size=16)
    frozen = [(name, tensor) for name, tensor in model.named_parameters() if not tensor.requires_grad]
    for name, tensor in (*frozen, *model.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_digest(tensor, known))
    return digest.hexdigest()


def place_of(tensor: Tensor) -> Hashable:
    """Where a tensor's numbers lie, and how; equal for two tensors that share them."""
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def _digest(tensor: Tensor, known: Digests) -> bytes:
    place = place_of(tensor)
    found = known.get(place)
    if found is None:
        plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        found = hashlib.blake2b(plain, digest_size=16).digest()
        if place in known:
            known[place] = found
    return found
