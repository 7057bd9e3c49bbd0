"""What tests of merge methods share: one tensor of several models, merged by us and by mergekit."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from mergekit.merge_methods.api import merge_tensors
from torch import Tensor

from luthier.component import find
from luthier.merging.tensors import PART_ELEMENTS, merge_states

SHAPES = [(64, 48), (100,), (), (6, 5, 4)]
"""A matrix, a vector, a number, and a convolution's."""
FEW = 96
"""Elements of a part, so that a matrix of these comes in many."""


def random(shape: Sequence[int], num: int, *, by: float = 0.1, seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    """A base, and models that differ from it everywhere."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(tuple(shape), generator=generator)
    return base, [base + by * torch.randn(tuple(shape), generator=generator) for _ in range(num)]


kind_of = cache(find)  # which looks at every package that is installed


def ours(
    kind: str,
    models: Sequence[Tensor],
    base: Tensor | None = None,
    *,
    part_elements: int = PART_ELEMENTS,
    **settings: Any,
) -> Tensor:
    """The tensor that our method makes."""
    return merge_states(
        [{"tensor": model} for model in models],
        kind_of("merges", kind).model_validate(settings),  # type: ignore[arg-type]
        base=None if base is None else {"tensor": base},
        part_elements=part_elements,
    )["tensor"]


def theirs(kind: str, models: Sequence[Tensor], base: Tensor | None = None, **settings: Any) -> Tensor:
    """The tensor that mergekit's makes, under the names of our settings."""
    named = {"lambda" if name == "scale" and kind != "passthrough" else name: said for name, said in settings.items()}
    parameters: Mapping[str, Any] = {name: said for name, said in named.items() if name != "style"}
    tensors = [*([] if base is None else [base]), *models]
    return merge_tensors(tensors, kind.replace("-", "_"), parameters=parameters, base_index=None if base is None else 0)


def assert_near(found: Tensor, expected: Tensor, *, within: float = 1e-6) -> None:
    """Same shape, and no number farther off than so much of itself, or of 1."""
    torch.testing.assert_close(found, expected, rtol=within, atol=within)
