"""Chance that depends on the seed, the tensor and the model alone: not on the order of work, parts, or threads."""

import hashlib

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from luthier.merging.methods import Tensors


def generators(seed: int, tensors: Tensors) -> list[np.random.Generator]:
    """One for each model, at the beginning of the tensor; draw row after row of part after part."""
    return [_generator(seed, tensors.name, label) for label in tensors.labels]


def generator(seed: int, tensors: Tensors, *, model: int) -> np.random.Generator:
    """That of one model."""
    return _generator(seed, tensors.name, tensors.labels[model])


def uniform(generator: np.random.Generator, like: Tensor) -> Float[Tensor, "rows width"]:
    """A number from 0 up to 1 for each element."""
    return torch.from_numpy(generator.random(tuple(like.shape), dtype=np.float32))


def _generator(seed: int, tensor: str, model: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}\0{tensor}\0{model}".encode()).digest()
    return np.random.Generator(np.random.SFC64(int.from_bytes(digest[:16], "little")))
