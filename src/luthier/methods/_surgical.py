"""Which blocks have the most to learn: those whose gradient is the largest beside their weights, ||g|| / ||w||.

Auto-RGN of Lee et al. 2023, https://arxiv.org/abs/2210.11466, for whole blocks and before the first step.
"""

from collections.abc import Callable, Sequence

import torch
from torch.nn.utils import get_total_norm
from transformers import PreTrainedModel

from luthier.errors import MethodError
from luthier.methods._levels import anatomy_of, in_order
from luthier.models.anatomy import Anatomy, Block, join


def most_moved(
    model: PreTrainedModel, num_blocks: int, probe: Callable[[], None] | None, *, taken: Sequence[str], where: str
) -> tuple[str, ...]:
    """Selectors of so many blocks, from the bottom up; none of which all parameters are `taken` otherwise.

    Without a probe the lowest ones, which take the most memory: a plan has no rows to compute a gradient of. Raises
    MethodError where there are too few.
    """
    anatomy = anatomy_of(model, where=where)
    if any(stack.depth > len(stack.blocks) for stack in anatomy.stacks):
        raise MethodError(f"{where}: this model's layers share their weights, so there is nothing to choose from")
    blocks = in_order(anatomy)
    ranked = [block for block in blocks if not _names(block) <= set(taken)]
    if len(ranked) < num_blocks:
        raise MethodError(
            f"{where}: {num_blocks} blocks are to be chosen, but train and freeze leave {len(ranked)} of this model's "
            f"{len(blocks)}"
        )
    if probe is not None:
        probe()
        ranked = sorted(ranked, key=relative_gradient, reverse=True)
    chosen = {block.name for block in ranked[:num_blocks]}
    return tuple(_selector(anatomy, block) for block in blocks if block.name in chosen)


@torch.no_grad()
def relative_gradient(block: Block) -> float:
    """||g|| / ||w|| over all of a block's parameters that have a gradient; 0 where none has."""
    moved = [parameter for parameter in block.module.parameters() if parameter.grad is not None]
    gradient = get_total_norm([p.grad.float() for p in moved if p.grad is not None])
    return float(gradient / get_total_norm([p.float() for p in moved])) if moved else 0.0


def _names(block: Block) -> set[str]:
    return {join(block.name, name) for name, _ in block.module.named_parameters()}


def _selector(anatomy: Anatomy, block: Block) -> str:
    """How the selector language calls a block."""
    (kind,) = {stack.kind for stack in anatomy.stacks if block in stack.blocks}
    alike = [each for stack in anatomy.stacks if stack.kind == kind for each in stack.blocks]
    prefix = "" if len({stack.kind for stack in anatomy.stacks}) == 1 else f"{kind}."
    return f"{prefix}blocks.{alike.index(block)}"
