"""A checkpoint in another vocabulary, row by row as it is asked for."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from threading import Lock
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.parents.checkpoint import Checkpoint, Spec
from luthier.merging.vocabularies.vocabulary import Vocabulary

GAP_BYTES = 2**16
"""What is read for nothing rather than that reading stops and starts again."""
RUN_BYTES = 2**22
"""What is read at once of rows that are strewn, some of them for nothing."""
STEP = 2**12
"""Rows that are read at a time to find the mean of all."""


class Remapped(Checkpoint):
    """A model's checkpoint whose tensors with a row for each token have the rows of the merged vocabulary."""

    def __init__(
        self, checkpoint: Checkpoint, *, label: str, vocabulary: Vocabulary, axes: Mapping[str, int],
        others: Mapping[str, Checkpoint],
    ) -> None:  # fmt: skip
        """`axes` is of this checkpoint; `others` are all models by the vocabulary's labels, this one too, as they are
        stored and with the same names."""
        self.inner, self.label, self.key = checkpoint, checkpoint.label, label
        self.vocabulary, self.axes, self.others = vocabulary, axes, others
        self._means: dict[str, Tensor] = {}
        self._lock = Lock()

    @property
    def config(self) -> Mapping[str, Any]:
        return self.inner.config

    @cached_property
    def specs(self) -> Mapping[str, Spec]:
        """Of the type that holds what stands in without loss."""
        found = dict(self.inner.specs)
        for name, axis in self.axes.items():
            shape, dtype = list(found[name].shape), found[name].dtype
            shape[axis] = self.vocabulary.size
            for label, (rows, _) in self.vocabulary.donations.items():
                if len(rows) and name in self.others[label].specs:
                    dtype = torch.promote_types(dtype, self.others[label].specs[name].dtype)
            stored = found[name].narrow or found[name].dtype
            found[name] = Spec(tuple(shape), dtype, None if stored == dtype else stored)
        return found

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        if name not in self.axes:
            return self.inner.read(name, start, stop)
        spec, axis = self.specs[name], self.axes[name]
        if axis == 0 and len(spec.shape) > 1:
            first, last, _ = slice(start, stop).indices(self.vocabulary.size)
            return self._filled(name, torch.arange(first, max(first, last)), self._rows_of(name))
        whole = self._whole(name, axis, start, stop)
        return self._filled(name, torch.arange(self.vocabulary.size), whole).movedim(0, axis)

    def _rows_of(self, name: str) -> Callable[[str, int, int], Tensor]:
        return lambda label, first, last: self._from(label, name).read(name, first, last)

    def _whole(self, name: str, axis: int, start: int, stop: int | None) -> Callable[[str, int, int], Tensor]:
        """What is no matrix with a row for each token is small: it is read at once."""
        kept = dict[str, Tensor]()

        def rows(label: str, first: int, last: int) -> Tensor:
            if label not in kept:
                kept[label] = self._from(label, name).read(name, start, stop).movedim(axis, 0)
            return kept[label][first:last]

        return rows

    def _from(self, label: str, name: str) -> Checkpoint:
        checkpoint = self.inner if label == self.key else self.others[label]
        if name not in checkpoint.specs:
            raise MergeError(f"{label}: has no {name}, whose rows are to stand in for those that {self.label} lacks")
        return checkpoint

    def _filled(self, name: str, wanted: Int64[Tensor, "num"], rows: Callable[[str, int, int], Tensor]) -> Tensor:
        """The merged rows of these numbers, given a way to read any model's."""
        own = self.vocabulary.rows[self.key][wanted]
        have = own >= 0
        known = _gathered(own[have], partial(rows, self.key), self._row_bytes(name))
        dtype = self.specs[name].dtype
        if bool(have.all()):
            return known.to(dtype)
        filled = torch.empty((len(wanted), *known.shape[1:]), dtype=dtype)
        filled[have] = known.to(dtype)
        lacking = wanted[~have]
        stands = self.vocabulary.num_donors[lacking] >= 0
        lent = torch.empty((len(lacking), *known.shape[1:]), dtype=dtype)
        lent[stands] = self._lent(lacking[stands], known, rows, self._row_bytes(name)).to(dtype)
        if not bool(stands.all()):
            lent[~stands] = self._mean(name, known, rows).to(dtype)
        filled[~have] = lent
        return filled

    def _row_bytes(self, name: str) -> int:
        return self.specs[name].bytes // max(1, self.vocabulary.size)

    def _lent(
        self, wanted: Int64[Tensor, "num"], like: Tensor, rows: Callable[[str, int, int], Tensor], row_bytes: int
    ) -> Tensor:
        """Means over the donors of each row, rounded once."""
        exact = torch.float64 if like.dtype == torch.float64 else torch.float32
        total = torch.zeros((len(wanted), *like.shape[1:]), dtype=exact)
        for label, (places, donors) in self.vocabulary.donations.items():
            if not len(places):
                continue
            at = torch.searchsorted(places, wanted).clamp_(max=len(places) - 1)
            gives = places[at] == wanted
            if bool(gives.any()):
                lent = _gathered(donors[at[gives]], partial(rows, label), row_bytes)
                total[gives] += lent.to(exact)
        counts = self.vocabulary.num_donors[wanted].clamp(min=1)
        return total / counts.reshape(-1, *(1 for _ in like.shape[1:]))

    def _mean(self, name: str, like: Tensor, rows: Callable[[str, int, int], Tensor]) -> Tensor:
        """Of the rows that are tokens'; found once for a matrix."""
        is_matrix = self.axes[name] == 0 and len(self.specs[name].shape) > 1
        with self._lock:
            if is_matrix and name in self._means:
                return self._means[name]
            vocabulary = self.vocabulary
            tokens = ((vocabulary.rows[self.key] >= 0) | (vocabulary.num_donors >= 0)).nonzero().flatten()
            total = torch.zeros(like.shape[1:], dtype=torch.float64)
            for part in tokens.split(STEP):
                total += self._filled(name, part, rows).to(torch.float64).sum(0)
            mean = total / max(1, len(tokens))
            if is_matrix:
                self._means[name] = mean
            return mean


def _gathered(numbers: Int64[Tensor, "num"], read: Callable[[int, int], Tensor], row_bytes: int) -> Tensor:
    """Rows in any order, read in runs; what is in order comes as it is read."""
    if not len(numbers):
        return read(0, 0)
    first, last = int(numbers[0]), int(numbers[-1]) + 1
    if last - first == len(numbers) and bool((numbers.diff() == 1).all()):
        return read(first, last)
    ordered, order = numbers.sort()
    blocks = [
        read(first, last).index_select(0, ordered[begin:end] - first)
        for begin, end, first, last in _runs(ordered, row_bytes)
    ]
    gathered = torch.cat(blocks)
    return torch.empty_like(gathered).index_copy_(0, order, gathered)


def _runs(ordered: Int64[Tensor, "num"], row_bytes: int) -> Iterator[tuple[int, int, int, int]]:
    """Numbers that are read together, from .. to, the end left out: which of them, and the rows that hold them."""
    gap, most = max(1, GAP_BYTES // max(1, row_bytes)), max(1, RUN_BYTES // max(1, row_bytes))
    breaks = ((ordered.diff() > gap) | ((ordered // most).diff() > 0)).nonzero().flatten() + 1
    begins = [0, *breaks.tolist()]
    ends = [*begins[1:], len(ordered)]
    firsts, lasts = ordered[begins].tolist(), ordered[torch.tensor(ends) - 1].tolist()
    for begin, end, first, last in zip(begins, ends, firsts, lasts, strict=True):
        yield begin, end, first, last + 1
