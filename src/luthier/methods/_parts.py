"""What a method hangs on a layer, as its child: the layer then answers with what the part makes of its answer.

The base keeps the names of its parameters, its signature and its shapes. What hangs can be switched off for a while,
taken down, and hung up again: so several sets of parts share one base.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from torch import nn


class Part(nn.Module):
    """A module that hangs on a layer as `layer.<held_as>`; while it is off, the layer is what it was."""

    held_as: ClassVar[str]
    """The name of the attribute; each kind of part has its own."""
    hears: ClassVar[bool] = True
    """Whether it changes what the layer answers; otherwise whoever knows of it looks for it there."""
    gives: ClassVar[bool] = False
    """Whether it changes what the layer is given."""

    def __init__(self) -> None:
        super().__init__()
        self.on = True

    def changed(self, layer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], answer: Any) -> Any:
        """What the layer answers to these arguments, given what it would answer without the part."""
        raise NotImplementedError

    def given(self, layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """What the layer is to be given in the place of these arguments."""
        raise NotImplementedError


P = TypeVar("P", bound=Part)


class _Hook:
    """Asks the part that hangs on a layer under a name, whichever that is when the layer is called."""

    def __init__(self, held_as: str) -> None:
        self.held_as = held_as

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], answer: Any) -> Any:
        part = layer._modules[self.held_as]
        assert isinstance(part, Part)
        return part.changed(layer, args, kwargs, answer) if part.on else answer


class _Before:
    """Lets the part that hangs on a layer under a name change what the layer is given."""

    def __init__(self, held_as: str) -> None:
        self.held_as = held_as

    def __call__(self, layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        part = layer._modules[self.held_as]
        assert isinstance(part, Part)
        return part.given(layer, args) if part.on else args


def hang(layer: nn.Module, part: Part) -> None:
    """Hang a part on a layer, which has none of its kind."""
    assert not hasattr(layer, part.held_as), f"{type(layer).__name__} has a {part.held_as} already"
    layer.register_module(part.held_as, part)
    if part.hears:
        layer.register_forward_hook(_Hook(part.held_as), with_kwargs=True)
    if part.gives:
        layer.register_forward_pre_hook(_Before(part.held_as))


def take_down(layer: nn.Module, part: Part) -> None:
    """The layer as it was before the part was hung."""
    delattr(layer, part.held_as)
    for key, hook in list(layer._forward_hooks.items()):
        if isinstance(hook, _Hook) and hook.held_as == part.held_as:
            del layer._forward_hooks[key]
            layer._forward_hooks_with_kwargs.pop(key, None)
    for key, before in list(layer._forward_pre_hooks.items()):
        if isinstance(before, _Before) and before.held_as == part.held_as:
            del layer._forward_pre_hooks[key]


def parts_of(model: nn.Module, kind: type[P]) -> list[tuple[Any, P]]:
    """Every layer on which a part of this kind hangs, with it, in the model's order."""
    return [(layer, each) for layer in model.modules() for each in layer.children() if isinstance(each, kind)]


@contextmanager
def switched_off(model: nn.Module, kind: type[Part]) -> Iterator[None]:
    """Within it the parts of this kind do nothing."""
    parts = [part for _, part in parts_of(model, kind) if part.on]
    for part in parts:
        part.on = False
    try:
        yield
    finally:
        for part in parts:
            part.on = True
