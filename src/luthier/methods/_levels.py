"""The levels of a model: embeddings lowest, then block after block, an encoder's below a decoder's, the head on top.

No table of families: roles tell most of it, and of the few norms and projections outside of the blocks the order in
which they are registered and their names.
"""

import math
import re
from collections.abc import Mapping, Sequence

from transformers import PreTrainedModel

from luthier.errors import MethodError, ModelError
from luthier.models.anatomy import Anatomy, Block, Stack, join, read

LOWEST, TOPMOST = ("embedding", "features"), ("head", "pooler")
_LOW = re.compile(r"emb")
_HIGH = re.compile(r"final|out")  # OPT registers what comes after its blocks before them


def levels(model: PreTrainedModel, *, where: str) -> dict[str, int]:
    """Each parameter's level: 0 that of the embeddings, 1 that of the lowest block, the highest that of the head.

    Raises MethodError where the model's blocks cannot be found.
    """
    anatomy = anatomy_of(model, where=where)
    blocks = in_order(anatomy)
    known = {block.name: level for level, block in enumerate(blocks, 1)}
    for role, modules in anatomy.outside.items():
        for name in modules:
            known[name] = _level_outside(model, anatomy, name, role, len(blocks) + 1)
    return {name: _of_owner(name, known, len(blocks) + 1) for name, _ in model.named_parameters()}


def anatomy_of(model: PreTrainedModel, *, where: str) -> Anatomy:
    """The model's anatomy.

    Raises MethodError where its blocks cannot be found.
    """
    try:
        return read(model)
    except ModelError as error:
        raise MethodError(f"{where}: needs the model's blocks; {error}") from None


def in_order(anatomy: Anatomy) -> list[Block]:
    """All blocks as they are computed: encoders before decoders."""
    return [block for stack in _stacks(anatomy) for block in stack.blocks]


def rates(of: Mapping[str, int], decay: float) -> dict[str, float]:
    """Each parameter's share of the learning rate: the head all of it, each level below `decay` times the one above."""
    top = max(of.values())
    return {name: decay ** (top - level) for name, level in of.items()}


def starts(of: Mapping[str, int], learning: Sequence[str], *, every: int, at_a_time: int) -> dict[str, int]:
    """The epoch in which each parameter that learns begins to: the topmost level at once, then so many at a time."""
    order = sorted({of[name] for name in learning}, reverse=True)
    begins = {level: every * math.ceil(rank / at_a_time) for rank, level in enumerate(order)}
    return {name: begins[of[name]] for name in learning}


def _stacks(anatomy: Anatomy) -> list[Stack]:
    return sorted(anatomy.stacks, key=lambda stack: stack.kind == "decoder")


def _of_owner(name: str, known: Mapping[str, int], top: int) -> int:
    """The level of the nearest module around a parameter that has one."""
    owner = name.rpartition(".")[0]
    while owner not in known and owner:
        owner = owner.rpartition(".")[0]
    return known.get(owner, top)


def _level_outside(model: PreTrainedModel, anatomy: Anatomy, name: str, role: str, top: int) -> int:
    """The level of a module that lies in no block."""
    if role in LOWEST or role in TOPMOST:
        return 0 if role in LOWEST else top
    stacks = _stacks(anatomy)
    inside = [stack for stack in stacks if f"{name}.".startswith(join(stack.name.rpartition(".")[0], ""))]
    stack = max(inside or stacks[-1:], key=lambda each: len(each.name))
    order = [module for module, _ in model.named_modules()]
    is_above = not _LOW.search(name) and (order.index(name) > order.index(stack.name) or bool(_HIGH.search(name)))
    if not is_above:
        return 0
    return top if stack is stacks[-1] else in_order(anatomy).index(stack.blocks[-1]) + 1
