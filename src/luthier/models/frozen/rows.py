"""What a model computed for a batch, cut into its rows without padding, and rows laid out again."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor
from torch.nn import functional as F

from luthier.models.layout import Layout

Form = Literal["tokens", "lines", "whole"]
"""States of each token, padded or flat; one state a line of the model's input; or states of an axis that no mask tells
of (frames of speech, packed rows), which are kept whole."""
Laid = Literal["padded", "flat", "in a line"]
"""How the tokens of a batch lie: (batch, seq), (1, tokens) without padding, or (1, batch * seq) with it."""
IGNORED = -100
"""The target of a position that is none."""
BOOKKEEPING = ("row", "cut")
"""Columns of prepared rows that say nothing of what a model is given."""


class Batch(Protocol):
    """What is read of a task's batch."""

    @property
    def inputs(self) -> dict[str, Tensor]: ...
    @property
    def targets(self) -> Tensor | None: ...
    @property
    def keys(self) -> tuple[str, ...] | None: ...
    @property
    def num_rows(self) -> int: ...
    def to(self, device: torch.device | str) -> Self: ...


@dataclass(frozen=True)
class Places:
    """Where the rows of a batch lie in what is computed for it."""

    num_rows: int
    mask: Bool[Tensor, "lines seq"] | None
    """Real positions; None where it is not known which are."""
    num_lines: tuple[int, ...]
    """Lines of each row: its choices where it has several, else 1."""

    @classmethod
    def of_inputs(cls, batch: Batch) -> "Places":
        """The places of a body's, or an encoder's, states.

        Packed rows have no mask, but positions that begin again with every example, padding being examples of one
        token each: what follows the last token that begins none is padding, or an example that has nothing to tell.
        """
        mask, positions = batch.inputs.get("attention_mask"), batch.inputs.get("position_ids")
        if mask is None and positions is not None:
            mask = positions.flip(-1).cumsum(-1).flip(-1) > 0
        if mask is None:
            return cls(batch.num_rows, None, (1,) * batch.num_rows)
        mask = mask.bool()
        lines = mask.any(-1).reshape(batch.num_rows, -1)
        return cls(batch.num_rows, mask[mask.any(-1)], tuple(lines.sum(-1).tolist()))

    @classmethod
    def of_targets(cls, batch: Batch) -> "Places":
        """The places of the states of a decoder that is fed with the targets."""
        assert batch.targets is not None, "a decoder without targets is generating"
        return cls(batch.num_rows, batch.targets != IGNORED, (1,) * batch.num_rows)

    def form(self, states: Shaped[Tensor, "..."]) -> Form | None:
        """In which form the rows lie in these states; None where that cannot be told."""
        if self.mask is not None and states.dim() > 2 and tuple(states.shape[:2]) in self._shapes.values():
            return "tokens"
        if states.dim() == 2 and len(states) == sum(self.num_lines):
            return "lines"
        return "whole" if states.dim() > 2 and len(states) == self.num_rows else None

    def laid(self, states: Shaped[Tensor, "..."], usual: Laid = "padded") -> Laid:
        """How states lie; those of another form than tokens have all of their batch's axes.

        A single row lies in all ways at once: it is told as usual.
        """
        found = [laid for laid, shape in self._shapes.items() if shape == tuple(states.shape[:2])]
        return usual if usual in found or not found else found[0]

    @property
    def _shapes(self) -> dict[Laid, tuple[int, int]]:
        """The first two axes of the states of tokens."""
        if self.mask is None:
            return {}
        num_lines, length = self.mask.shape
        return {"padded": (num_lines, length), "flat": (1, int(self.mask.sum())), "in a line": (1, num_lines * length)}

    def split(self, states: Shaped[Tensor, "..."], form: Form) -> list[Shaped[Tensor, "..."]]:
        """The states of each row."""
        if form == "whole":
            return list(states)
        if form == "lines":
            return list(states.split(self.num_lines))
        assert self.mask is not None, "tokens have a mask"
        lengths = [sum(lines) for lines in self._by_row(self.mask.sum(-1).tolist())]
        is_flat = self.laid(states) == "flat"
        tokens = states[0] if is_flat else states.reshape(*self.mask.shape, *states.shape[2:])[self.mask]
        return list(tokens.split(lengths))

    def join(
        self, rows: Sequence[Shaped[Tensor, "..."]], form: Form, laid: Laid, *, length: int | None = None
    ) -> Shaped[Tensor, "..."]:
        """The states of the batch; rows that are kept whole are cut, or filled with zeros, to the length."""
        if form == "lines":
            return torch.cat(tuple(rows))
        if form == "tokens":
            assert self.mask is not None, "tokens have a mask"
            together = Layout(self.mask, laid == "flat").together(rows)
            return together.flatten(0, 1)[None] if laid == "in a line" else together
        most = max(map(len, rows)) if length is None else length
        return torch.stack([F.pad(row[:most], (0, 0) * (row.dim() - 1) + (0, most - len(row[:most]))) for row in rows])

    def _by_row(self, lines: list[int]) -> list[list[int]]:
        rest = iter(lines)
        return [[next(rest) for _ in range(num)] for num in self.num_lines]


def row_keys(rows: Mapping[str, Any]) -> tuple[str, ...]:
    """A name for each of some prepared rows, given as columns: the same for the same content, in every run."""
    names = sorted(name for name in rows if name not in BOOKKEEPING)
    return tuple(_digest(names, row) for row in zip(*(rows[name] for name in names), strict=True))


def _digest(names: Sequence[str], row: Sequence[Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in zip(names, row, strict=True):
        array = np.asarray(value)
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(repr(array.tolist()).encode() if array.dtype.hasobject else np.ascontiguousarray(array).data)
    return digest.hexdigest()
