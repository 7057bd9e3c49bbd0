"""The files of a merged model: each tensor's place is known before the first is made, so any thread writes any of them.

What is written is told in a journal, tensor by tensor, with its SHA-256. Who goes on after a kill believes a tensor
only when the bytes that are there have that hash. The format is safetensors': the length, a JSON header, the numbers.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from luthier.files import JOURNAL
from luthier.merging.parents.checkpoint import DTYPES, INDEX, SINGLE, Spec

WORDS = {dtype: word for word, dtype in DTYPES.items()}
CHUNK_BYTES = 2**22
"""Read back at a time."""


@dataclass(frozen=True)
class Place:
    """Where a tensor lies."""

    file: str
    offset: int
    spec: Spec


class Shards:
    """Safetensors files of given tensors in a folder, filled in any order."""

    def __init__(self, folder: Path, specs: Mapping[str, Spec], *, shard_bytes: int, plan: str) -> None:
        """Make the files, or go on with those of the same plan (its fingerprint).

        Raises OSError where the disk has no room for them: before anything is merged.
        """
        self.folder, self.places, self.hashes = folder, dict[str, Place](), dict[str, str]()
        self._groups = _cut(specs, shard_bytes)
        self._headers = {file: self._lay_out(file, names, specs) for file, names in self._groups.items()}
        self._lock = Lock()
        journal, laid_out = folder / JOURNAL, hashlib.sha256(plan.encode())
        for file, header in self._headers.items():
            laid_out.update(file.encode() + header)
        fingerprint = laid_out.hexdigest()
        known = _read_journal(journal)
        if known is None or known.pop("plan", None) != fingerprint:
            _empty(folder)
            for file in self._groups:
                self._allocate(file)
            journal.write_text(json.dumps({"plan": fingerprint}) + "\n", encoding="utf-8")
            known = {}
        self._open = {file: os.open(folder / file, os.O_RDWR) for file in self._groups}
        self._journal = journal.open("a", encoding="utf-8")
        self.hashes |= {name: said for name, said in known.items() if self._is_there(name, said)}

    def write(self, name: str, start: int, tensor: Tensor) -> memoryview:
        """A tensor's elements from `start` on, in the type that it is to have; -> their bytes, to be hashed."""
        place = self.places[name]
        held = tensor.to(place.spec.dtype).contiguous().reshape(-1).view(torch.uint8)
        numbers = memoryview(held.numpy())  # type: ignore[arg-type]
        rest, offset = numbers, place.offset + start * place.spec.dtype.itemsize
        while rest:
            num = os.pwrite(self._open[place.file], rest, offset)
            rest, offset = rest[num:], offset + num
        return numbers

    def is_done(self, name: str, sha256: str) -> None:
        """A tensor is whole, and this is its hash."""
        with self._lock:
            self._journal.write(json.dumps({"name": name, "sha256": sha256}) + "\n")
            self._journal.flush()
            self.hashes[name] = sha256

    def finish(self) -> None:
        """Write the index where there are several files; the journal stays until the folder has its name."""
        self.close()
        if len(self._groups) > 1:
            total = sum(place.spec.bytes for place in self.places.values())
            listed = {name: place.file for name, place in sorted(self.places.items())}
            index = {"metadata": {"total_size": total}, "weight_map": listed}
            (self.folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def close(self) -> None:
        """Let go of the files; what is journalled stays good."""
        self._journal.close()
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open = {}

    def _lay_out(self, file: str, names: list[str], specs: Mapping[str, Spec]) -> bytes:
        header, offset = dict[str, Any](__metadata__={"format": "pt"}), 0
        for name in names:
            spec = specs[name]
            place = {"dtype": WORDS[spec.dtype], "shape": spec.shape, "data_offsets": [offset, offset + spec.bytes]}
            header[name], offset = place, offset + spec.bytes
        written = json.dumps(header, separators=(",", ":")).encode()
        written += b" " * (-len(written) % 8)
        for name in names:
            begin = 8 + len(written) + header[name]["data_offsets"][0]
            self.places[name] = Place(file, begin, specs[name])
        return len(written).to_bytes(8, "little") + written

    def _allocate(self, file: str) -> None:
        size = len(self._headers[file]) + sum(self.places[name].spec.bytes for name in self._groups[file])
        with (self.folder / file).open("wb") as opened:
            opened.write(self._headers[file])
            opened.flush()
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(opened.fileno(), 0, size)
            else:
                opened.truncate(size)

    def _is_there(self, name: str, sha256: str) -> bool:
        if name not in self.places:
            return False
        digest = hashlib.sha256()
        for chunk in self._read(self.places[name]):
            digest.update(chunk)
        return digest.hexdigest() == sha256

    def _read(self, place: Place) -> Iterator[bytes]:
        for start in range(0, place.spec.bytes, CHUNK_BYTES):
            num = min(CHUNK_BYTES, place.spec.bytes - start)
            yield os.pread(self._open[place.file], num, place.offset + start)


def _cut(specs: Mapping[str, Spec], shard_bytes: int) -> dict[str, list[str]]:
    """The names of each file, of types of the same size together so that all numbers are aligned."""
    ordered = sorted(specs, key=lambda name: -specs[name].dtype.itemsize)
    groups, held = list[list[str]](), 0
    for name in ordered:
        if not groups or held + specs[name].bytes > shard_bytes:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += specs[name].bytes
    if len(groups) == 1:
        return {SINGLE: groups[0]}
    return {f"model-{n + 1:05}-of-{len(groups):05}.safetensors": names for n, names in enumerate(groups)}


def _empty(folder: Path) -> None:
    """Nothing of another plan may stay; the journal goes first, so that it is never believed of other files."""
    (folder / JOURNAL).unlink(missing_ok=True)
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _read_journal(path: Path) -> dict[str, str] | None:
    """Hash by tensor, and the plan's fingerprint; a line that was cut off ends it. None where there is none."""
    if not path.is_file():
        return None
    known: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            said = json.loads(line)
            known |= {"plan": said["plan"]} if "plan" in said else {said["name"]: said["sha256"]}
        except (ValueError, KeyError, TypeError):
            break
    return known
