"""Several low-rank updates of one layer as one: sum_i w_i s_i B_i A_i, by their factors side by side; exact."""

from collections.abc import Sequence

import torch
from torch import nn

from luthier.errors import MethodError
from luthier.methods._low_rank import Update
from luthier.methods._parts import hang, parts_of, take_down


def mix(model: nn.Module, others: Sequence[nn.Module], weights: Sequence[float]) -> None:
    """Hang on a model the weighted sum of the updates of others of its base, in place of its own."""
    for layer, update in parts_of(model, Update):
        take_down(layer, update)
    named = {id(module): name for other in others for name, module in other.named_modules()}
    by_layer: dict[str, list[tuple[Update, float]]] = {}
    for other, weight in zip(others, weights, strict=True):
        for layer, update in parts_of(other, Update):
            by_layer.setdefault(named[id(layer)], []).append((update, weight))
    for name, found in by_layer.items():
        hang(model.get_submodule(name), mixed(*zip(*found, strict=True)).eval())


@torch.no_grad()
def mixed(updates: Sequence[Update], weights: Sequence[float]) -> Update:
    """The weighted sum of updates of one layer; its rank is the sum of theirs, its scale is 1.

    Raises MethodError where one is weight-decomposed, and so no sum.
    """
    assert updates and len(updates) == len(weights), "each update has a weight"
    if any(update.magnitude is not None for update in updates):
        raise MethodError("method.dora: weight-decomposed updates cannot be added up; fold them one by one, or merge")
    factors = [update.factors() for update in updates]
    A = torch.cat([A for A, _ in factors])
    B = torch.cat(
        [weight * update.scale * B for update, weight, (_, B) in zip(updates, weights, factors, strict=True)], dim=1
    )
    sum_of_all = Update((A.shape[1], len(B)), len(A), scale=1.0, dropout=updates[0].dropout, device=A.device)
    sum_of_all.A.data.copy_(A)
    sum_of_all.B.data.copy_(B)
    return sum_of_all
