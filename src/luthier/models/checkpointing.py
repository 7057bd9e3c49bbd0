"""Activation checkpointing: what backward needs of a block is not kept, but computed again when backward comes to it.

Of all blocks' activations those of one are held at a time, for up to a third more arithmetic. Chen et al. 2016,
https://arxiv.org/abs/1604.06174. `selective` keeps what is dear to compute and small, the products with weights, and
computes the rest again: norms, activations, dropout, attention. Korthikanti et al. 2022,
https://arxiv.org/abs/2205.05198.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial, wraps
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
from transformers import Cache, PreTrainedModel

from luthier.errors import ModelError
from luthier.models import flat
from luthier.models.anatomy import attention_units, read
from luthier.models.dropout import fast_dropout

Checkpointing = Literal["blocks", "attention", "selective"] | int
"""What is computed again; a number n: every n-th block."""

_aten = torch.ops.aten
_KEPT = [
    _aten.mm.default,
    _aten.addmm.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
]
"""What `selective` keeps: products with weights, and attention that never holds its scores."""

Context = AbstractContextManager[Any]
Contexts = Callable[[], tuple[Context, Context]]
"""Those of the first computation and of the second."""


@contextmanager
def checkpointed(model: PreTrainedModel, what: Checkpointing | None) -> Iterator[None]:
    """Within it backward computes again; afterwards the model is as it was found.

    Losses and gradients stay the same, dropout included, which must be the fast one where there is one.
    Where no gradient passes, as in frozen blocks below the first that learns, nothing is kept and nothing changes.
    Raises ModelError where the model's blocks cannot be found.
    """
    contexts = partial(_contexts, model, what == "selective")
    found = [] if what is None else [(module, vars(module).get("forward")) for module in _modules(model, what)]
    try:
        for module, _ in found:
            module.forward = _computed_again(module, contexts)
        yield
    finally:
        for module, own in found:
            vars(module).pop("forward", None)
            if own is not None:
                module.forward = own


def _modules(model: PreTrainedModel, what: Checkpointing) -> list[nn.Module]:
    """Those that are computed again as one."""
    try:
        stacks = read(model).stacks
    except ModelError as error:
        name = type(model).__name__
        raise ModelError(f"training.checkpointing: the blocks of {name} were not found; say null") from error
    every = what if isinstance(what, int) else 1
    blocks = [block.module for stack in stacks for block in stack.blocks[::every]]
    if what == "attention":
        return [block.get_submodule(owner) for block in blocks for owner in attention_units(block)]
    return blocks


def _contexts(model: PreTrainedModel, is_selective: bool) -> tuple[Context, Context]:
    """Asked for while a block is computed first; backward runs outside of whatever the forward pass was in."""
    keeping, kept = create_selective_checkpoint_contexts(_KEPT) if is_selective else (nullcontext(), nullcontext())
    return keeping, _all_of(fast_dropout(model.device.type), flat.attending(model, flat.current()), kept)


@contextmanager
def _all_of(*contexts: Context) -> Iterator[None]:
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


def _computed_again(module: nn.Module, contexts: Contexts) -> Callable[..., Any]:
    forward = module.forward
    learns = any(parameter.requires_grad for parameter in module.parameters())

    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        passes = learns or any(isinstance(x, Tensor) and x.requires_grad for x in (*args, *kwargs.values()))
        if not passes or not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        args, kwargs = tuple(map(_without_cache, args)), {key: _without_cache(x) for key, x in kwargs.items()}
        return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)

    return run


def _without_cache(value: Any) -> Any:
    """A cache of keys would be written to once more; some decoders keep one although their model is told not to."""
    return None if isinstance(value, Cache) else value
