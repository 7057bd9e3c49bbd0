"""A model of its own modules on another one's tensors: made in a moment, and at no cost of memory.

Modules, hooks and configuration are copied, the tensors behind the parameters are shared. What a method then inserts,
replaces or lets learn belongs to the twin alone; the base stays as it was.
"""

import copy
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel


def twin_of(base: PreTrainedModel) -> PreTrainedModel:
    """A model whose parameters lie where those of `base` do; `own_what_learns` is to follow before the first step.

    Quantised weights are shared as they are; buffers, such as a norm's running means, are copied.
    """
    shared: dict[int, Any] = {}
    for parameter in base.parameters():  # tied weights come once
        is_plain = type(parameter) is nn.Parameter
        shared[id(parameter)] = _beside(parameter) if is_plain else parameter
    return copy.deepcopy(base, shared)


@torch.no_grad()
def own_what_learns(twin: nn.Module, base: nn.Module) -> None:
    """Give the twin tensors of its own, in fp32, wherever it is to learn."""
    places = {parameter.data_ptr() for parameter in base.parameters()}
    for parameter in twin.parameters():
        if parameter.requires_grad and parameter.data_ptr() in places:
            is_narrow = parameter.dtype == torch.bfloat16
            parameter.data = parameter.data.float() if is_narrow else parameter.data.clone()


@torch.no_grad()
def narrow_too(base: nn.Module, twin: nn.Module) -> bool:
    """Hold the base's weights in bf16 where the twin's are, if no number is lost: half the bytes, for all to come.

    Whether there were any.
    """
    own: dict[str, nn.Parameter] = dict(twin.named_parameters())
    has_narrowed = False
    for name, parameter in base.named_parameters():
        narrow = own.get(name)
        if narrow is None or (narrow.dtype, parameter.dtype) != (torch.bfloat16, torch.float32):
            continue
        if narrow.shape == parameter.shape and torch.equal(narrow.float(), parameter):
            parameter.data = narrow.data
            has_narrowed = True
    return has_narrowed


def _beside(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(parameter.data, requires_grad=parameter.requires_grad)
