"""The layers of a block whose answers go into the sum of the residual stream: where bottlenecks hang."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from torch import nn
from transformers import PreTrainedModel

from luthier.errors import MethodError
from luthier.models.anatomy import Block, linear_sizes

ATTENTIONS = ("attention.output", "cross-attention.output")
FIRST_LAYERS = ("feed-forward.in", "feed-forward.gate", "feed-forward.gate-in")


@dataclass(frozen=True)
class Place:
    """A module whose answer goes into the residual stream, and the one that is given what it was made of."""

    layer: nn.Module
    first: nn.Module
    """The feed-forward's first layer; the same module where one holds all of it."""
    width: int


def after_attentions(model: PreTrainedModel, block: Block) -> Iterator[Place]:
    """The last layer of each attention.

    Raises MethodError where there is none.
    """
    names = [name for role in ATTENTIONS for name in block.roles.get(role, ())]
    if not names:
        raise _lacks(block, "attention.output")
    for name in names:
        layer = model.get_submodule(name)
        yield Place(layer, layer, linear_sizes(layer)[1])


def feed_forwards(model: PreTrainedModel, block: Block) -> Iterator[Place]:
    """Each feed-forward; of a mixture of experts, the module that holds them with their router.

    Raises MethodError where there is none, or experts stand beside another feed-forward.
    """
    if "feed-forward.experts" in block.roles:
        yield _mixture(model, block)
        return
    firsts = [name for role in FIRST_LAYERS for name in block.roles.get(role, ())]
    if not firsts or "feed-forward.out" not in block.roles:
        raise _lacks(block, "feed-forward.in and feed-forward.out")
    for name in block.roles["feed-forward.out"]:
        layer = model.get_submodule(name)
        nearest = max(firsts, key=lambda first: _num_shared(first, name))
        yield Place(layer, model.get_submodule(nearest), linear_sizes(layer)[1])


def _mixture(model: PreTrainedModel, block: Block) -> Place:
    experts, *others = block.roles["feed-forward.experts"]
    owner = experts.rpartition(".")[0]
    beside = [name for name in (*others, *block.roles.get("feed-forward.out", ())) if not name.startswith(f"{owner}.")]
    if owner == block.name or beside:
        found = ", ".join([experts, *beside])
        raise MethodError(
            f"method: {block.name} has experts and no one module that answers for all of them ({found}); leave the "
            "block out with method.blocks, or say method=lora"
        )
    layer = model.get_submodule(owner)
    (output, *_) = block.roles.get("attention.output") or (None,)
    if output is None:
        raise _lacks(block, "attention.output")
    return Place(layer, layer, linear_sizes(model.get_submodule(output))[1])


def _num_shared(one: str, other: str) -> int:
    """Modules that two names lie in together."""
    pairs = zip(one.split("."), other.split("."), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _lacks(block: Block, roles: str) -> MethodError:
    return MethodError(
        f"method: {block.name} has no {roles}; it has {', '.join(block.roles)}: leave it out with method.blocks, or "
        "say method=lora"
    )
