"""Checkpoints on disk: a folder a step, whole or not there, and the newest one that proves itself is the one to use.

`step-N/` holds safetensors and JSON, no pickle, and MANIFEST.json: the run it belongs to, what it was made from, and
every file's size and SHA-256. It is written beside, flushed, renamed (files.py); older ones go only after that. Order
is by step, never by a file's time.
"""

import json
import math
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from luthier import files
from luthier.errors import RunError

MANIFEST, CONTENT, SUFFIX = "MANIFEST.json", "state.json", ".safetensors"
FORMAT = 1
"""Of the manifest and of what the files hold; another one is not read."""
SPARE_BYTES = 2**20
"""Room for JSON, headers and folders beside the tensors."""


@dataclass(frozen=True)
class Array:
    """A tensor as bytes, with safetensors' name of its type (F32, BF16, I64 ...)."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview

    @property
    def item_bytes(self) -> int:
        return self.data.nbytes // max(1, math.prod(self.shape))


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint."""

    folder: Path
    step: int

    @property
    def content(self) -> dict[str, Any]:
        """What is no tensor."""
        content: dict[str, Any] = json.loads((self.folder / CONTENT).read_text(encoding="utf-8"))
        return content

    @property
    def tensor_files(self) -> dict[str, Path]:
        """The safetensors files, by name."""
        return {path.name.removesuffix(SUFFIX): path for path in sorted(self.folder.glob(f"*{SUFFIX}"))}


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run."""

    folder: Path
    identity: Mapping[str, Any]
    """The run's `id`, which must be equal for a checkpoint to count, and what else its manifests say."""
    keep: int = 2
    """How many stay."""
    _proved: set[int] = field(default_factory=set)
    """Steps whose checkpoint was written or verified by this process."""

    def save(self, step: int, arrays: Mapping[str, Mapping[str, Array]], content: Mapping[str, Any]) -> Path:
        """Write the checkpoint of a step, then remove the ones that are too many; one that is there already stays.

        Raises RunError where the disk has no room or refuses; what was there before is untouched.
        """
        path = self._path(step)
        if self._fault(path) is None:
            return path
        self.require_room(sum(array.data.nbytes for file in arrays.values() for array in file.values()))
        try:
            with files.new_folder(path) as beside:
                written = _write_tensors(beside, arrays)
                written[CONTENT] = files.write_chunks(beside / CONTENT, [json.dumps(content).encode()])
                sums = {name: {"bytes": file.bytes, "sha256": file.sha256} for name, file in written.items()}
                manifest = {"format": FORMAT, "step": step, **self.identity, "files": sums}
                files.write_chunks(beside / MANIFEST, [json.dumps(manifest, indent=1).encode()])
            self._proved.add(step)
            self._prune(step)
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror or error}{self._what_is_left()}") from error
        return path

    def newest(self) -> tuple[Checkpoint | None, tuple[str, ...]]:
        """The newest checkpoint that proves itself, and what is wrong with each newer one."""
        faults: list[str] = []
        for step in self._steps():
            fault = self._fault(self._path(step))
            if fault is None:
                self._proved.add(step)
                return Checkpoint(self._path(step), step), tuple(faults)
            faults.append(f"checkpoint step-{step} is not used: {fault}")
        return None, tuple(faults)

    def require_room(self, num_bytes: int) -> None:
        """Raise RunError where this many bytes do not fit on the disk."""
        there = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        free = shutil.disk_usage(there).free
        if free < num_bytes + SPARE_BYTES:
            raise RunError(
                f"{self.folder}: a checkpoint takes {num_bytes / 2**20:,.0f} MiB and the disk has "
                f"{free / 2**20:,.0f} MiB left; make room, or say training.checkpoint_every=never{self._what_is_left()}"
            )

    def clear(self) -> None:
        """Remove them all, and whatever an interrupted save left."""
        files.discard(self.folder)

    def tidy(self) -> None:
        """Remove what an interrupted save left."""
        if self.folder.is_dir():
            files.tidy(self.folder)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step}"

    def _steps(self) -> list[int]:
        """Steps that have a folder, newest first."""
        names = [path.name.removeprefix("step-") for path in self.folder.glob("step-*") if path.is_dir()]
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def _prune(self, newest: int) -> None:
        """Only now that a newer one stands. What is faulty, or of a later step and so of another course, goes too."""
        steps = self._steps()
        whole = (step for step in steps if step <= newest and self._is_proved(step))
        for step in {*steps} - {*islice(whole, self.keep)}:
            files.discard(self._path(step))
            self._proved.discard(step)

    def _is_proved(self, step: int) -> bool:
        """Each is read through once."""
        if step not in self._proved and self._fault(self._path(step)) is None:
            self._proved.add(step)
        return step in self._proved

    def _fault(self, path: Path) -> str | None:
        """What is wrong with a checkpoint; None where it proves itself."""
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            if manifest["format"] != FORMAT:
                return f"its format is {manifest['format']}, not {FORMAT}"
            if manifest["id"] != self.identity["id"]:
                return "it belongs to another run"
            if f"step-{manifest['step']}" != path.name:
                return "its folder was renamed"
            for name, meant in manifest["files"].items():
                if files.read_back(path / name) != files.Written(**meant):
                    return f"{name} is damaged (its size or SHA-256 is not what the manifest says)"
        except FileNotFoundError as error:
            return f"{Path(error.filename).name} is missing"
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"{MANIFEST} is damaged"
        return None

    def _what_is_left(self) -> str:
        found, _ = self.newest()
        return f"; checkpoint step-{found.step} is whole" if found else ""


def _write_tensors(folder: Path, arrays: Mapping[str, Mapping[str, Array]]) -> dict[str, files.Written]:
    """A thread a file: while one waits for the disk, the others hash."""

    def write(name: str) -> files.Written:
        return files.write_chunks(folder / name, _safetensors(arrays[name.removesuffix(SUFFIX)]))

    names = [f"{name}{SUFFIX}" for name in arrays]
    with ThreadPoolExecutor(len(names)) as threads:
        return dict(zip(names, threads.map(write, names), strict=True))


def _safetensors(tensors: Mapping[str, Array]) -> list[bytes | memoryview]:
    """The file's bytes, piece by piece: length of the header, header, data.

    https://github.com/huggingface/safetensors#format. Written here, as the library would copy every tensor first.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    ordered = dict(sorted(tensors.items(), key=lambda item: -item[1].item_bytes))  # large items first: all are aligned
    end = 0
    for name, array in ordered.items():
        start, end = end, end + array.data.nbytes
        header[name] = {"dtype": array.dtype, "shape": array.shape, "data_offsets": (start, end)}
    told = json.dumps(header, separators=(",", ":")).encode()
    told += b" " * (-len(told) % 8)
    return [len(told).to_bytes(8, "little"), told, *(array.data for array in ordered.values())]
