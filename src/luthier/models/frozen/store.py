"""Where the frozen states of rows are kept: in memory for a run, or on a disk for the runs to come.

On a disk, a folder holds the states of one frozen part. Each run that computes some adds a volume to it: the states one
after the other, and an index. A volume is written under another name and renamed when it is whole, so a run that is
killed leaves none.
"""

import json
import mmap
import os
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from luthier import files

States = tuple[Shaped[Tensor, "..."], ...]
"""What is kept of a row: the states at each point."""
DATA, INDEX, USED = "states.bin", "rows.json", "used"
ABANDONED_S = 24 * 60 * 60
"""Age from which a half-written volume is taken for that of a killed run."""
FOLDER_ENV = "LUTHIER_CACHE"
DTYPES = {str(dtype): dtype for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}


class Store(ABC):
    """Keeps the states of rows up to a budget; they are on the CPU."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes, self.num_bytes = budget_bytes, 0
        self.is_full = False
        """Whether a row did not fit, or could not be written: from then on no more are kept."""

    @abstractmethod
    def __contains__(self, key: str) -> bool: ...

    @abstractmethod
    def __getitem__(self, key: str) -> States: ...

    @abstractmethod
    def _keep(self, key: str, states: States) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Nothing is read or kept after this."""

    def add(self, key: str, states: States) -> None:
        """Keep the states of a row, unless it is known or there is no room."""
        if self.is_full or key in self:
            return
        size = sum(each.nbytes for each in states)
        if self.num_bytes + size > self.budget_bytes:
            self.is_full = True
            return
        self._keep(key, states)
        self.num_bytes += size


class Memory(Store):
    """States as tensors of their own."""

    def __init__(self, budget_bytes: int) -> None:
        super().__init__(budget_bytes)
        self._rows: dict[str, States] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __getitem__(self, key: str) -> States:
        return self._rows[key]

    def _keep(self, key: str, states: States) -> None:
        # A piece of a batch would hold all of the batch.
        self._rows[key] = tuple(each.clone() for each in states)

    def close(self) -> None:
        self._rows.clear()


@dataclass
class _Volume:
    """A file of states, mapped as far as it is written."""

    file: IO[bytes]
    index: dict[str, list[Any]] = field(default_factory=dict)
    """Of each row, the offset, the type and the shape of each of its states."""
    size: int = 0
    _map: mmap.mmap | None = None

    def read(self, key: str) -> States:
        if self._map is None or len(self._map) < self.size:
            self._map = mmap.mmap(self.file.fileno(), self.size, access=mmap.ACCESS_COPY)  # torch wants it writable
        return tuple(self._tensor(*entry) for entry in self.index[key])

    def _tensor(self, offset: int, dtype: str, shape: Sequence[int]) -> Tensor:
        num = int(np.prod(shape))
        assert self._map is not None
        flat = torch.frombuffer(self._map, dtype=DTYPES[dtype], count=num, offset=offset)
        return flat.view(tuple(shape))

    def append(self, key: str, states: States) -> None:
        """Raises OSError where it cannot be written."""
        entry, start = [], self.size
        for each in states:
            entry.append([start, str(each.dtype), list(each.shape)])
            plain = each.contiguous().reshape(-1).view(torch.uint8).numpy()
            self.file.write(plain.data)
            start += plain.nbytes
        self.file.flush()
        self.index[key], self.size = entry, start


class Disk(Store):
    """States in a folder of the cache, which other runs of the same frozen part read and add to."""

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        """`folder` is named by what the states depend on; its neighbours that were used the longest ago make room.

        Raises OSError where it cannot be written.
        """
        super().__init__(budget_bytes)
        self._folder, self._writing = folder, files.TEMPORARY + uuid.uuid4().hex
        folder.mkdir(parents=True, exist_ok=True)
        (folder / USED).touch()
        _tidy(folder)
        found = [_opened(path.parent) for path in folder.glob(f"[!.]*/{INDEX}")]
        self._volumes = [volume for volume in found if volume is not None]
        self._new: _Volume | None = None
        make_room(folder.parent, budget_bytes, keep=folder)
        self.num_bytes = sum(volume.size for volume in self._volumes)

    def __contains__(self, key: str) -> bool:
        return any(key in volume.index for volume in self._all)

    def __getitem__(self, key: str) -> States:
        return next(volume for volume in self._all if key in volume.index).read(key)

    @property
    def _all(self) -> list[_Volume]:
        return self._volumes if self._new is None else [self._new, *self._volumes]

    def _keep(self, key: str, states: States) -> None:
        try:
            if self._new is None:
                (self._folder / self._writing).mkdir()
                self._new = _Volume((self._folder / self._writing / DATA).open("w+b"))
            self._new.append(key, states)
        except OSError:
            self.is_full = True

    def close(self) -> None:
        """What this run computed becomes a volume."""
        if self._new is not None:
            written = self._folder / self._writing
            try:
                self._new.file.truncate(self._new.size)
                files.write_json(written / INDEX, {"size": self._new.size, "rows": self._new.index})
                files.sync_tree(written)
                written.rename(self._folder / self._writing.removeprefix(files.TEMPORARY))
                files.sync_folder(self._folder)
            except OSError:
                files.discard(written)
        for volume in self._all:
            volume.file.close()
        self._volumes, self._new = [], None
        make_room(self._folder.parent, self.budget_bytes, keep=self._folder)


def _opened(folder: Path) -> _Volume | None:
    """A volume that is there; None where it is damaged: its rows are computed, as if it had never been."""
    try:
        content = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        rows, size = content["rows"], content["size"]
        is_whole = (folder / DATA).stat().st_size == size
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return _Volume((folder / DATA).open("rb"), rows, size) if is_whole else None


def _tidy(folder: Path) -> None:
    """Remove what killed runs left; what is young may belong to a run that goes on."""
    for path in folder.glob(f"{files.TEMPORARY}*"):
        if time.time() - path.stat().st_mtime > ABANDONED_S:
            files.discard(path)


def make_room(cache: Path, budget_bytes: int, *, keep: Path) -> None:
    """Remove the folders that were used the longest ago until the rest is within the budget."""
    folders = sorted((path.parent for path in cache.glob(f"*/{USED}")), key=lambda path: (path / USED).stat().st_mtime)
    sizes = {folder: sum(file.stat().st_size for file in folder.glob(f"*/{DATA}")) for folder in folders}
    for folder in folders:
        if sum(sizes.values()) > budget_bytes and folder != keep:
            files.discard(folder)
            del sizes[folder]


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where states are kept between runs: LUTHIER_CACHE, else the place that the system has for caches."""
    if named := environment.get(FOLDER_ENV):
        return Path(named)
    home = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "luthier" / "frozen"
