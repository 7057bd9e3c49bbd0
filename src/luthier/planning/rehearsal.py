"""A rehearsal: real code runs on tensors without numbers, and every operation is accounted for.

Numbers that code looks at are kept: whatever is computed from token ids and masks alone is computed, so that a loss
finds its supervised positions, and attention its rows. Where code asks a tensor without numbers for one, it is told
one that goes on: 1, true, every position. Recipe: `torch.utils._python_dispatch`, as torch's own MemTracker.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from luthier.planning.ledger import Ledger, Part

aten = torch.ops.aten
MOST_KNOWN = 2**22
"""Elements of the largest tensor whose numbers are kept."""
COPIES = (aten._to_copy.default, aten.clone.default)
"""What makes a copy that is for what its source is for."""


class Rehearsal(TorchDispatchMode):
    """Accounts for memory and for floating-point operations of whatever runs within it."""

    def __init__(self, ledger: Ledger, num_words: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ledger, self.num_words, self.num_flops = ledger, num_words, 0
        self.part: Part = "activations"
        """What new storages are for, unless something better is known."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.prim.device.default:
            return func(*args)
        answer = self._computed(func, args, dict(kwargs or {}))
        for tensor in (answer,) if isinstance(answer, Tensor) else tree_leaves(answer):
            if isinstance(tensor, Tensor):
                self.ledger.enter(tensor, self._part_of(func, args, tensor))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.num_flops += count(*args, **(kwargs or {}), out_val=answer)
        return answer

    def _computed(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if tensors and all(not isinstance(each, FakeTensor) and each.numel() <= MOST_KNOWN for each in tensors):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if func is aten._local_scalar_dense.default:
            return 1.0 if args[0].is_floating_point() else 1
        if func is aten.nonzero.default:
            return _everywhere(args[0].shape)
        if func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._unsafe_index.Tensor):
            args = (args[0], _numbered(args[1]), *args[2:])
        answer = func(*args, **kwargs)
        is_made = not tensors and isinstance(answer, Tensor) and func is not aten.empty.memory_format
        if is_made and answer.numel() <= MOST_KNOWN:  # what is made empty is to be filled at random, as dropout's draws
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        return answer

    def _part_of(self, func: Any, args: tuple[Any, ...], made: Tensor) -> Part:
        if func in COPIES and self.ledger.part_of(args[0]) == "weights":
            return "weights"
        if made.ndim > 1 and made.shape[-1] == self.num_words and made.is_floating_point():
            return "logits"
        return self.part


@contextmanager
def rehearsing(ledger: Ledger, num_words: int) -> Iterator[Rehearsal]:
    """The context of a rehearsal; only within `faking`. A step of an optimiser is known when it happens."""
    mode = Rehearsal(ledger, num_words)

    def begins(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for parameter in _learnt_by(optimizer):
            if parameter.grad is not None:
                ledger.say(parameter.grad, "gradients")
        mode.part = "optimizer"

    def ends(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        mode.part = "activations"
        for tensor in tree_leaves([optimizer.state[parameter] for parameter in _learnt_by(optimizer)]):
            if isinstance(tensor, Tensor):
                ledger.say(tensor, "optimizer")

    handles = [register_optimizer_step_pre_hook(begins), register_optimizer_step_post_hook(ends)]
    try:
        with mock.patch.object(FakeTensor, "tolist", _nothing), mode:
            yield mode
    finally:
        for handle in handles:
            handle.remove()


def enter_model(ledger: Ledger, model: nn.Module) -> None:
    """A model's weights, which are there before anything runs."""
    for tensor in [*model.parameters(), *model.buffers()]:
        ledger.enter(tensor, "weights")


def _learnt_by(optimizer: Optimizer) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]


def _everywhere(shape: Sequence[int]) -> Tensor:
    """The places of all elements, as `nonzero` tells them: the most that there may be."""
    with unset_fake_temporarily():
        return torch.ones(tuple(shape), dtype=torch.bool).nonzero()


def _numbered(indices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Indices without masks: each in its place, as the numbers of its true elements, an axis at a time."""
    found: list[Tensor | None] = []
    for index in indices:
        if index is None or index.dtype not in (torch.bool, torch.uint8):
            found.append(index)
        elif isinstance(index, FakeTensor):
            found += _everywhere(index.shape).unbind(1)
        else:
            with unset_fake_temporarily():
                found += index.nonzero().unbind(1)
    return found


def _nothing(tensor: Tensor) -> Any:
    """As many zeros as a tensor has numbers, in lists."""
    return np.zeros(tensor.shape, dtype=float if tensor.is_floating_point() else int).tolist()
