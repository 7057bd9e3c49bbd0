"""Groups of tensors that get a setting of their own, each by the selector that means them in a merge's recipe."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

from luthier.merging.inspecting.regions import regions
from luthier.merging.parents.blocks import Blocks

Grouping = Literal["whole", "thirds", "roles"]
"""One group; three of each stack's blocks and what lies outside; attention, feed-forward, and the rest."""
ALL = "all"
"""The selector of what no other group has."""
OWN_ROLES = ("attention", "cross-attention", "feed-forward")
"""First words of the roles that make groups."""


def grouped(names: Collection[str], config: Mapping[str, Any], grouping: Grouping) -> dict[str, str]:
    """Of each tensor, the selector of its group."""
    if grouping == "thirds":
        return _thirds(names, config)
    if grouping == "roles":
        first = {name: region.role.partition(".")[0] for name, region in regions(names, config).items()}
        return {name: first[name] if first[name] in OWN_ROLES else ALL for name in names}
    return dict.fromkeys(names, ALL)


def _thirds(names: Collection[str], config: Mapping[str, Any]) -> dict[str, str]:
    blocks = Blocks.of(names, config)
    found = {name: blocks.place(name) for name in names}
    return {
        name: ALL if place is None else _third(place[1], blocks.stacks[place[0]], _kind(place[0], blocks))
        for name, place in found.items()
    }


def _third(number: int, num_blocks: int, kind: str) -> str:
    """The selector of the third that a block lies in; of fewer blocks than three, each is one."""
    num_parts = min(3, num_blocks)
    part = number * num_parts // num_blocks
    inside = [each for each in range(num_blocks) if each * num_parts // num_blocks == part]
    return f"{kind}blocks.{inside[0]}-{inside[-1]}"


def _kind(stack: str, blocks: Blocks) -> str:
    """What stands before the selector of blocks, where there is more than one list of them."""
    if len(blocks.stacks) == 1:
        return ""
    return "decoder." if "decoder" in stack else "encoder."
