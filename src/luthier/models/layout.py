"""How a batch's rows lie in a tensor: padded, (batch, seq, ...), or flat, one after the other, (1, tokens, ...)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Where the tokens of each row are."""

    mask: Bool[Tensor, "batch seq"]
    """Real tokens of the padded form, on either side of the padding."""
    is_flat: bool
    """Whether tensors hold the real tokens alone."""

    @property
    def lengths(self) -> list[int]:
        """Real tokens of each row."""
        lengths: list[int] = self.mask.sum(-1).tolist()
        return lengths

    def rows(self, states: Shaped[Tensor, "..."]) -> list[Shaped[Tensor, "..."]]:
        """The states of each row's tokens, (length, ...), without padding."""
        tokens = states[0] if self.is_flat else states[self.mask]
        return list(tokens.split(self.lengths))

    def together(self, rows: Sequence[Shaped[Tensor, "..."]]) -> Shaped[Tensor, "..."]:
        """The states of a whole batch, of those of each row; what is padding is zero."""
        tokens = torch.cat(tuple(rows))
        return tokens[None] if self.is_flat else self.padded(tokens)

    def flat(self, states: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """(1, tokens, ...) of padded states."""
        return states[self.mask][None]

    def padded(self, tokens: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """(batch, seq, ...) of the states of all real tokens, (tokens, ...)."""
        whole = tokens.new_zeros(*self.mask.shape, *tokens.shape[1:])
        whole[self.mask] = tokens
        return whole
