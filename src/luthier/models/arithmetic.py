"""The arithmetic of a forward and backward pass, while what is learnt stays in fp32.

In bf16 the model computes on copies of its weights: nothing is cast anew in every layer, and activations are never
fp32. Each copy's gradient is added to its weight's in fp32 as it arrives, so micro-batches add up exactly as without
copies. fp16 is torch's autocast. Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.weak import WeakIdKeyDictionary
from transformers import PreTrainedModel

COMPUTED = torch.bfloat16
KEEPS_PRECISION = "keeps_precision"
"""The attribute with which a module says that its own parameters get no copies."""

Forward = Callable[[], AbstractContextManager[Any]]
"""The context of each forward pass, where torch casts by itself."""

AT_ONCE = 1024
"""Rows of a matrix that are looked through at once."""

_frozen_copies: Any = WeakIdKeyDictionary()
"""Of each frozen weight, where it lay, its version, and its copy: it outlasts a step, as the weight does not change."""


@contextmanager
def computing(model: PreTrainedModel, precision: str) -> Iterator[Forward]:
    """The context of a whole step, or of a whole evaluation, of which the model's forward and backward passes are in
    this precision; it gives the context of each forward pass.

    Within it the model's parameters are the copies, so an optimiser must hold the weights from before.
    """
    if precision == "bf16":
        with _on_copies(model):
            yield nullcontext
    elif precision == "fp16":
        yield lambda: torch.autocast(model.device.type, dtype=torch.float16)
    else:
        yield nullcontext


@contextmanager
def _on_copies(model: nn.Module) -> Iterator[None]:
    copies: dict[Tensor, nn.Parameter] = {}
    places = list(_places(model))
    handle = model.register_forward_pre_hook(_cast_inputs, with_kwargs=True, prepend=True)
    try:
        for module, name, weight in places:
            if weight not in copies:  # tied weights have one copy
                copies[weight] = _copy_of(weight)
            module._parameters[name] = copies[weight]
            if type(module) is nn.Embedding and weight.requires_grad and module.max_norm is None:
                vars(module)["forward"] = partial(_looked_up, copies[weight], weight, module.padding_idx)
        yield
    finally:
        handle.remove()
        for module, name, weight in places:
            module._parameters[name] = weight
            if type(module) is nn.Embedding:
                vars(module).pop("forward", None)


def _places(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Where the weights are that the model is to have copies of.

    A batch norm's stay: its running statistics, which are no parameters, are as precise as they. So do those of a
    module that says it keeps its precision, such as scales near 1, whose steps bf16 would round away.
    """
    for module in model.modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm) and not getattr(module, KEEPS_PRECISION, False):
            for name, weight in module._parameters.items():
                if weight is not None and weight.is_floating_point() and weight.dtype != COMPUTED:
                    yield module, name, weight


@torch.no_grad()
def narrow(model: nn.Module, *, is_known: bool = False) -> int:
    """Hold in bf16, in place, each frozen matrix of which every number is one of bf16's; -> bytes that this saves.

    What is computed in bf16 stays the same to the last bit, as it would be computed on copies like that; biases and
    norms are too few to count. `is_known` says that no matrix need be looked through. `widen` undoes it.
    """
    saved = 0
    for weight in dict.fromkeys(weight for _, _, weight in _places(model)):
        is_held_wide = weight.dtype == torch.float32 and weight.ndim > 1 and not weight.requires_grad
        if is_held_wide and (is_known or _is_narrow(weight)):
            weight.data = weight.data.to(COMPUTED)
            saved += weight.nbytes
    return saved


@torch.no_grad()
def widen(model: nn.Module) -> None:
    """Hold in fp32, in place, whatever is held in bf16."""
    for weight in model.parameters():
        if weight.dtype == COMPUTED:
            weight.data = weight.data.float()


def _is_narrow(weight: Tensor) -> bool:
    """Whether no number of it would be rounded; of most that would, the first rows tell."""
    return all(torch.equal(part.to(COMPUTED).to(part.dtype), part) for part in weight.split(AT_ONCE))


def _copy_of(weight: nn.Parameter) -> nn.Parameter:
    """The weight in bf16; whatever gradient it gets is the weight's own."""
    if not weight.requires_grad:
        version = weight.data_ptr(), weight._version
        known = _frozen_copies.get(weight)
        if known is None or known[0] != version:
            known = _frozen_copies[weight] = version, nn.Parameter(_cast(weight), requires_grad=False)
        frozen: nn.Parameter = known[1]
        return frozen
    copy = nn.Parameter(_cast(weight))

    def deliver(copy: Tensor) -> None:
        if copy.grad is None:  # what was looked up has been added already
            return
        if weight.grad is None:
            weight.grad = copy.grad.to(weight.dtype)
        else:
            weight.grad.add_(copy.grad)
        copy.grad = None
        for hook in (weight._post_accumulate_grad_hooks or {}).values():  # as if the gradient were its own
            hook(weight)

    copy.register_post_accumulate_grad_hook(deliver)
    return copy


def _looked_up(copy: Tensor, weight: Tensor, padding_idx: int | None, ids: Tensor) -> Tensor:
    found: Any = _LookUp.apply
    states: Tensor = found(ids, copy, (weight,), padding_idx)
    return states


class _LookUp(torch.autograd.Function):
    """An embedding whose gradient is added row by row to the weight's own: a batch has few of a vocabulary's words."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, copy: Tensor, behind: tuple[Tensor], padding_idx: int | None) -> Tensor:
        ctx.save_for_backward(ids)
        (ctx.weight,) = behind  # torch is not to know of it: its gradient comes from here alone
        ctx.padding_idx = -1 if padding_idx is None else padding_idx
        return F.embedding(ids, copy)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        (ids,), weight = ctx.saved_tensors, ctx.weight
        if weight._post_accumulate_grad_hooks:  # somebody waits for it as a whole
            whole = torch.ops.aten.embedding_dense_backward
            return None, whole(above[0], ids, len(weight), ctx.padding_idx, False), None, None
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        rows = above[0].to(weight.dtype).masked_fill((ids == ctx.padding_idx)[..., None], 0.0)
        weight.grad.index_add_(0, ids.flatten(), rows.flatten(end_dim=-2))
        return None, None, None, None


def _cast(weight: Tensor) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():  # an evaluation's copy may serve a later step
        return weight.detach().to(COMPUTED)


def _cast_inputs(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Sound and embeddings come in fp32."""

    def cast(value: Any) -> Any:
        return value.to(COMPUTED) if isinstance(value, Tensor) and value.is_floating_point() else value

    return tuple(map(cast, args)), {name: cast(value) for name, value in kwargs.items()}
