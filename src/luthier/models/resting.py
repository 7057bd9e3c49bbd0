"""Modules in eval mode for a while: no dropout, no dropped layers, no masked sound."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def resting(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within it these modules, and none below them that is not among them, are in eval mode."""
    modes = [(module, module.training) for module in modules]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
