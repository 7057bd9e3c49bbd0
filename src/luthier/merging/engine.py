"""Merges what a plan says, tensor by tensor, on all cores, within a bound of memory.

Each thread takes a tensor, reads it from every model in parts, merges them and writes them where they belong: reads,
arithmetic and writes overlap, since all three let go of Python's lock. The largest tensors come first, so that no
thread is left alone with one at the end.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.methods import Merge
from luthier.merging.parents.checkpoint import Checkpoint, Spec
from luthier.merging.shards import Shards
from luthier.merging.tensors import PART_ELEMENTS, Source, Streamed, merged
from luthier.models import heap

Record = dict[str, Any]
COPIED_BYTES = 2**24
"""Of a tensor that is copied, at a time."""


@dataclass(frozen=True)
class Output:
    """A tensor of the merged model, and what it is made of."""

    name: str
    spec: Spec
    """As it is written."""
    models: tuple[Source, ...]
    labels: tuple[str, ...]
    base: Source | None = None
    method: Merge | None = None
    """None: the first model's is copied, bit for bit where the types are equal."""
    companions: tuple[Checkpoint, ...] = ()
    """Statistics of each model."""

    def streamed(self, part_elements: int) -> Streamed:
        """To be read in parts of so many elements."""
        like_weights = self.method is not None and self.method.statistics == "weights"
        return Streamed(self.name, self.models, self.labels, self.base, self.companions, like_weights, part_elements)

    @property
    def num_read(self) -> int:
        """Bytes read once."""
        return sum(source.spec.bytes for source in (*self.models, *([self.base] if self.base else [])))


def elements_of_a_part(memory: int, *, num_threads: int, num_tensors: int) -> int:
    """How many elements of each of so many tensors a thread may hold, within `memory` bytes for all threads.

    For each element: two copies of each tensor (as stored and in fp32), what a model learnt, a mask, and the result.
    """
    bytes_of_an_element = 12 * num_tensors + 24
    return max(1024, min(PART_ELEMENTS, memory // num_threads // bytes_of_an_element))


def run(outputs: list[Output], shards: Shards, *, memory: int, num_threads: int) -> Iterator[Record]:
    """Make every tensor that is not yet there; yields a record for each as it is done.

    Raises MergeError where a merged tensor has a number that is not finite.
    """
    widest = max((len(output.models) + (output.base is not None) for output in outputs), default=1)
    part_elements = elements_of_a_part(memory, num_threads=num_threads, num_tensors=widest)
    rest = sorted((output for output in outputs if output.name not in shards.hashes), key=lambda o: -o.spec.bytes)
    with heap.given_back(), _threads(num_threads):
        heap.keep()
        surveyed = _survey(outputs, part_elements)
        yield from _made(rest, shards, part_elements, surveyed, num_threads)


def _made(rest: list[Output], shards: Shards, part_elements: int, surveyed: Any, num_threads: int) -> Iterator[Record]:
    with ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = {pool.submit(_make, output, shards, part_elements, surveyed): output for output in rest}
        try:
            for done in as_completed(futures):
                done.result()
                yield {"event": "tensor", "name": futures[done].name, "bytes": futures[done].spec.bytes}
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _threads(num: int) -> Iterator[None]:
    """torch's number of threads, which surveys go by, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(num)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _survey(outputs: list[Output], part_elements: int) -> Any:
    merging = [output for output in outputs if output.method is not None and output.method.surveys]
    if not merging:
        return None
    assert merging[0].method is not None
    if len({output.method.same_everywhere() for output in merging if output.method is not None}) > 1:
        raise MergeError(
            f"{merging[0].method.kind()}: looks at the whole model at once, so its settings cannot differ between "
            "tensors; with trim: tensor they can"
        )
    return merging[0].method.survey([replace(output.streamed(part_elements), keeps=False) for output in merging])


@torch.no_grad()
def _make(output: Output, shards: Shards, part_elements: int, surveyed: Any) -> None:
    digest = hashlib.sha256()
    if output.method is None:
        for start, rows in _copied(output.models[0]):
            digest.update(shards.write(output.name, start, rows))
    else:
        tensors = output.streamed(part_elements)
        for row, made in merged(tensors, output.method, surveyed):
            rows = made.to(output.spec.dtype)
            if not torch.isfinite(rows.sum()) and not torch.isfinite(rows).all():
                raise MergeError(f"{output.name}: {_odd(output, tensors)}")
            digest.update(shards.write(output.name, row * tensors.width, rows))
    shards.is_done(output.name, digest.hexdigest())


def _copied(source: Source) -> Iterator[tuple[int, Tensor]]:
    """A source's tensor as stored, in pieces: number of the first element, and the rows."""
    shape = source.spec.shape
    if len(shape) < 2:
        yield 0, source.checkpoint.read(source.name)
        return
    width = source.spec.num_elements // max(1, shape[0])
    step = max(1, COPIED_BYTES // max(1, width * source.spec.dtype.itemsize))
    for row in range(0, shape[0], step):
        yield row * width, source.checkpoint.read(source.name, row, row + step)


def _odd(output: Output, tensors: Streamed) -> str:
    """Whose fault it is that a merged tensor is not finite."""
    sources = (*output.models, *([output.base] if output.base else []))
    for source in sources:
        if not torch.isfinite(source.rows(0, tensors.num_rows, tensors.dtype)).all():
            return f"{source.checkpoint.label} has numbers there that are not finite; leave that model out"
    return "the merged numbers are not finite; smaller weights or a smaller scale may mend it"
