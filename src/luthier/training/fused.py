"""The optimiser's step as a part of backward: a parameter moves once its gradient is whole, and the gradient is freed.

So one gradient is held at a time in place of all. The whole gradient's norm is known only when every parameter has
moved, so it cannot be clipped. Lv et al. 2023, https://arxiv.org/abs/2306.09782.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def moving_in_backward(optimizer: torch.optim.Optimizer, move: Callable[[Tensor], None]) -> Iterator[list[Tensor]]:
    """Within it backward moves each parameter by itself; it gives the norms of the gradients that came.

    `move` makes the optimiser's step, unless its flag, a scalar, says that the gradient is no finite number.
    """
    norms: list[Tensor] = []
    groups = optimizer.param_groups

    def mover_in(group: dict[str, Any]) -> Callable[[Tensor], None]:
        def move_one(parameter: Tensor) -> None:
            assert parameter.grad is not None
            norms.append(torch.linalg.vector_norm(parameter.grad))
            optimizer.param_groups = [{**group, "params": [parameter]}]
            move(torch.isfinite(norms[-1]))
            parameter.grad = None

        return move_one

    learning = [(p, group) for group in groups for p in group["params"] if p.requires_grad]
    handles = [p.register_post_accumulate_grad_hook(mover_in(group)) for p, group in learning]
    try:
        yield norms
    finally:
        optimizer.param_groups = groups
        for handle in handles:
            handle.remove()
