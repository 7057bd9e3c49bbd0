"""Which block of a model a tensor belongs to, by its name alone: `model.layers.7.mlp.up_proj.weight` is of block 7.

Models keep their blocks in lists, so the first number in a name is a block's, where the numbers under what stands
before it go from 0 without a gap, and there are as many as the configuration says.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

COUNTS = (
    *("num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers", "decoder_layers"),
    *("num_decoder_layers", "num_encoder_layers"),
)
"""What configurations call the number of their blocks."""
_NUMBERED = re.compile(r"^(.*?\.)?(\d+)\.(.+)$")


def is_numbered(name: str) -> bool:
    """Whether a tensor lies in a list of modules, such as one of blocks."""
    return any(word.isdigit() for word in name.split("."))


@dataclass(frozen=True)
class Blocks:
    """The lists of blocks of a model: what their names begin with, and how many they are."""

    stacks: Mapping[str, int]

    @classmethod
    def of(cls, names: Iterable[str], config: Mapping[str, Any]) -> "Blocks":
        """Found in the names of a model's tensors."""
        found: dict[str, set[int]] = {}
        for name in names:
            if match := _NUMBERED.match(name):
                found.setdefault(match[1] or "", set()).add(int(match[2]))
        whole = {prefix: len(numbers) for prefix, numbers in found.items() if max(numbers) == len(numbers) - 1}
        counts = {config[word] for word in COUNTS if isinstance(config.get(word), int)}
        told = {prefix: num for prefix, num in whole.items() if num in counts}
        if not told and whole:
            longest = max(whole.values())
            told = {prefix: num for prefix, num in whole.items() if num == longest}
        return cls(told)

    def place(self, name: str) -> tuple[str, int] | None:
        """The list and the number of the block that a tensor lies in; None outside of blocks."""
        match = _NUMBERED.match(name)
        if match is None or (match[1] or "") not in self.stacks:
            return None
        return match[1] or "", int(match[2])

    def renamed(self, name: str, number: int) -> str:
        """The name of the same tensor in another block."""
        match = _NUMBERED.match(name)
        assert match is not None, "only of what lies in a block"
        return f"{match[1] or ''}{number}.{match[3]}"
