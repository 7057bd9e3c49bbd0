"""What tests of merges by chance share: our draws in place of torch's, where mergekit and PEFT draw."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from luthier.component import find
from luthier.merging.methods import _draws as draws
from luthier.merging.tensors import PART_ELEMENTS, merge_states


def drawn(model: int, like: Tensor, *, seed: int = 0) -> Tensor:
    """Our numbers for the only tensor of a model, in the order in which they are drawn."""
    tensors: Any = SimpleNamespace(name="tensor", labels=("0", "1", "2", "3"))
    return draws.uniform(draws.generator(seed, tensors, model=model), like=like)


def as_drawn(numbers: Tensor, probabilities: Tensor) -> Tensor:
    """For draws in the order of elements."""
    return numbers.reshape(probabilities.shape)


def by_rank(numbers: Tensor, probabilities: Tensor) -> Tensor:
    """For draws in the order of ranks, which is that of probabilities."""
    return torch.empty_like(probabilities).scatter_(1, probabilities.argsort(dim=1), numbers)


def draw_as_we_do(
    patch: pytest.MonkeyPatch, models: Sequence[int], *, order: Callable[[Tensor, Tensor], Tensor] = as_drawn
) -> None:
    """From now on torch draws for one of these models after the other, as ours are drawn."""
    turns = iter(models)

    def bernoulli(probabilities: Tensor) -> Tensor:
        rows = probabilities.reshape(1, -1) if probabilities.dim() < 2 else probabilities.flatten(1)
        return (order(drawn(next(turns), rows), probabilities) < probabilities).to(probabilities.dtype)

    patch.setattr(torch, "bernoulli", bernoulli)


def labelled(
    kind: str, models: dict[str, Tensor], base: Tensor, *, part_elements: int = PART_ELEMENTS, **settings: Any
) -> Tensor:
    """Models under their names, merged in the order in which they stand."""
    return merge_states(
        [{"tensor": model} for model in models.values()],
        find("merges", kind).model_validate(settings),  # type: ignore[arg-type]
        base={"tensor": base},
        labels=tuple(models),
        part_elements=part_elements,
    )["tensor"]
