"""What the states of a frozen part depend on beside the rows, as one name: states of an equal name serve other runs."""

import hashlib
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from luthier.models.frozen.points import FrozenPart
from luthier.models.processor import Processor


def name_of(model: PreTrainedModel, part: FrozenPart, processor: Processor, arithmetic: str) -> str:
    """A digest of all that does not learn, the points, how sound becomes features, the arithmetic and its libraries."""
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
        digest.update(_content(tensor))
    return digest.hexdigest()


def _content(tensor: Tensor) -> memoryview:
    plain: memoryview = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return plain
