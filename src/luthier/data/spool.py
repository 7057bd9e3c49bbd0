"""Rows on their way into a table: in memory while they are few, then in an Arrow file that is mapped, not loaded.

The file has no name, so nothing is left of it when the process ends, however it ends. It lies in the temporary
folder of the system, or in the one that TMPDIR names: that should be a disk, and on some systems /tmp is memory.
"""

import mmap
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow
from datasets import Dataset
from datasets.table import InMemoryTable

from luthier.errors import DataError

MEMORY_BYTES = 32 * 2**20
"""Up to here a table stays in memory."""
CHUNK_BYTES = 8 * 2**20
"""What is written to the file at once."""
CHUNK_ITEMS = 4_000_000
"""Characters, or parts of lists, that are gathered in Python before they go to Arrow."""
ROWS_AT_ONCE = 256
"""Rows that are read back at once: of long texts, a tokenizer needs a hundred times their size."""


class Spool:
    """Takes rows one by one, or columns chunk by chunk; gives one table."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._memory_bytes = memory_bytes
        self._waiting: dict[str, list[Any]] = {}
        self._num_items = 0
        self._pieces: list[pyarrow.Table] = []
        self._piece_bytes = 0
        self._chunks: list[pyarrow.Table] = []
        self._chunk_bytes = 0
        self._part: _Part | None = None
        self._written: list[pyarrow.Table] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """One more row; all have the same columns."""
        for name, value in row.items():
            self._waiting.setdefault(name, []).append(value)
            self._num_items += 1 + (len(value) if isinstance(value, str | list) else 0)
        if self._num_items >= CHUNK_ITEMS:
            self._flush()

    def extend(self, columns: Mapping[str, Sequence[Any] | pyarrow.Array]) -> None:
        """More rows, as columns."""
        table = pyarrow.table(dict(columns))
        self._pieces.append(table)
        self._piece_bytes += table.nbytes
        if self._piece_bytes >= CHUNK_BYTES:
            self._gather()

    def finish(self) -> Dataset:
        """All rows, of which there must be one at least."""
        self._flush()
        self._gather()
        self._close()
        table = _together([*self._written, *self._chunks])
        return Dataset(InMemoryTable(table), fingerprint=uuid.uuid4().hex[:16])

    def _flush(self) -> None:
        if self._waiting:
            waiting, self._waiting, self._num_items = self._waiting, {}, 0
            self.extend(waiting)

    def _gather(self) -> None:
        """Make one chunk of the pieces; all chunks go to the file once they are more than memory may hold."""
        if not self._pieces:
            return
        self._chunks.append(_together(self._pieces).combine_chunks())
        self._chunk_bytes += self._chunks[-1].nbytes
        self._pieces, self._piece_bytes = [], 0
        if self._part is None and self._chunk_bytes <= self._memory_bytes:
            return
        try:
            while self._chunks:
                self._write(self._chunks.pop(0))
        except OSError as error:
            raise DataError(
                f"data: the rows cannot be kept in the temporary folder: {error.strerror or error}; "
                "make room there, or name a folder with more in TMPDIR"
            ) from error

    def _write(self, chunk: pyarrow.Table) -> None:
        """A chunk into the file; where its types are wider than the file's, into another one."""
        if self._part is None:
            self._part = _Part(chunk.schema)
        known = self._part.schema
        both = pyarrow.unify_schemas([known, chunk.schema], promote_options="permissive")
        if both != known:
            self._close()
            self._part = _Part(both)
        self._part.write(chunk.cast(both))

    def _close(self) -> None:
        if self._part is not None:
            self._written.append(self._part.mapped())
            self._part = None


class _Part:
    """A file without a name, of one schema."""

    def __init__(self, schema: pyarrow.Schema) -> None:
        self.schema = schema
        self._file = tempfile.TemporaryFile(prefix="luthier-")  # noqa: SIM115 - it is closed when it is mapped
        self._writer = pyarrow.ipc.new_stream(self._file, schema)

    def write(self, table: pyarrow.Table) -> None:
        self._writer.write_table(table)

    def mapped(self) -> pyarrow.Table:
        """What was written, as a table that lies in the file."""
        self._writer.close()
        self._file.flush()
        mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self._file.close()
        return pyarrow.ipc.open_stream(pyarrow.py_buffer(mapped)).read_all()


def _together(tables: Sequence[pyarrow.Table]) -> pyarrow.Table:
    """One below the other; whole numbers become numbers with a fraction where some have one."""
    return pyarrow.concat_tables(tables, promote_options="permissive")


def batches(rows: Dataset, names: Sequence[str] | None = None) -> Iterator[dict[str, list[Any]]]:
    """A table, or some of its columns, piece by piece as Python lists."""
    chosen = rows if names is None else rows.select_columns(list(names))
    pieces: Iterator[dict[str, list[Any]]] = chosen.with_format(None).iter(batch_size=ROWS_AT_ONCE)
    return pieces


def column(rows: Dataset, name: str) -> Iterator[Any]:
    """The values of a column, one by one."""
    for piece in batches(rows, [name]):
        yield from piece[name]
