"""A model's tensors by name, read a few rows at a time: a folder of safetensors, or a state dict in memory."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any, Self

import torch
from torch import Tensor

from luthier.errors import MergeError

DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8},
    "BOOL": torch.bool,
}
"""safetensors' words for types."""
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
MOST_HEADER_BYTES = 10**8
"""Of a file's header, as the format has it."""


@dataclass(frozen=True)
class Spec:
    """What a tensor is, without its numbers."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    narrow: torch.dtype | None = None
    """The type in the model's files, where it is read in a wider one: what is made of it is written so."""

    @property
    def num_elements(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.num_elements * self.dtype.itemsize


class Checkpoint(ABC):
    """Named tensors, read in pieces; safe to read from several threads."""

    label: str
    """What messages and records call it."""

    @property
    @abstractmethod
    def specs(self) -> Mapping[str, Spec]:
        """Every tensor by its name."""

    @property
    @abstractmethod
    def config(self) -> Mapping[str, Any]:
        """The model's config.json; empty where there is none."""

    @abstractmethod
    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """The rows from `start` to `stop` of the first axis, as stored; a vector or a number comes whole."""


class States(Checkpoint):
    """A state dict in memory."""

    def __init__(self, tensors: Mapping[str, Tensor], label: str, config: Mapping[str, Any] | None = None) -> None:
        self.tensors, self.label, self._config = tensors, label, config or {}

    @cached_property
    def specs(self) -> Mapping[str, Spec]:
        return {name: Spec(tuple(tensor.shape), tensor.dtype) for name, tensor in self.tensors.items()}

    @property
    def config(self) -> Mapping[str, Any]:
        return self._config

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        tensor = self.tensors[name].detach().cpu()
        return tensor if tensor.dim() < 2 else tensor[start:stop]


class Renamed(Checkpoint):
    """A checkpoint under other names, each of which reads the tensor that it is given for."""

    def __init__(self, inner: Checkpoint, names: Mapping[str, str]) -> None:
        self.inner, self.names, self.label = inner, dict(names), inner.label

    @classmethod
    def adding(cls, inner: Checkpoint, names: Mapping[str, str]) -> Self:
        """Under its own names, and more."""
        return cls(inner, {**{name: name for name in inner.specs}, **names})

    @cached_property
    def specs(self) -> Mapping[str, Spec]:
        return {name: self.inner.specs[theirs] for name, theirs in self.names.items()}

    @property
    def config(self) -> Mapping[str, Any]:
        return self.inner.config

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        return self.inner.read(self.names[name], start, stop)


@dataclass(frozen=True)
class _Place:
    """Where a tensor's bytes lie."""

    path: Path
    offset: int
    spec: Spec


class Folder(Checkpoint):
    """A model's folder; nothing but headers is read before a tensor is asked for, and no file is mapped."""

    def __init__(self, path: Path, label: str) -> None:
        self.path, self.label = path, label
        self._places: dict[str, _Place] = {}
        for file in _weight_files(path, label):
            for name, place in _header(file):
                if name in self._places:
                    raise MergeError(f"{label}: {name} is in {self._places[name].path.name} and in {file.name}")
                self._places[name] = place
        self._open: dict[Path, int] = {}
        self._lock = Lock()

    @cached_property
    def specs(self) -> Mapping[str, Spec]:
        return {name: place.spec for name, place in self._places.items()}

    @cached_property
    def config(self) -> Mapping[str, Any]:
        path = self.path / "config.json"
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise MergeError(f"{path}: is no JSON: {error}") from None
        return read if isinstance(read, dict) else {}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        place = self._places[name]
        shape = place.spec.shape
        row_bytes = place.spec.bytes
        if len(shape) > 1:
            start, stop, _ = slice(start, stop).indices(shape[0])
            row_bytes = place.spec.bytes // shape[0] if shape[0] else 0
            shape = (max(0, stop - start), *shape[1:])
        else:
            start = 0
        into = torch.empty(shape, dtype=place.spec.dtype)
        self._fill(into, place, place.offset + start * row_bytes)
        return into

    def _fill(self, into: Tensor, place: _Place, offset: int) -> None:
        if not into.numel():
            return
        buffer = memoryview(into.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
        with self._lock:
            if place.path not in self._open:
                self._open[place.path] = os.open(place.path, os.O_RDONLY)
            descriptor = self._open[place.path]
        while buffer:
            num = os.preadv(descriptor, [buffer], offset)
            if not num:
                raise MergeError(f"{place.path}: ends before its tensors do; it was cut off, fetch it again")
            buffer, offset = buffer[num:], offset + num

    def __del__(self) -> None:
        for descriptor in getattr(self, "_open", {}).values():
            os.close(descriptor)


def _weight_files(folder: Path, label: str) -> list[Path]:
    if (folder / INDEX).is_file():
        try:
            listed = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
            files = [folder / name for name in sorted(set(listed.values()))]
        except (ValueError, KeyError, AttributeError, TypeError):
            raise MergeError(f"{label}: {INDEX} cannot be read; fetch it again") from None
        if any(file.parent != folder for file in files):
            raise MergeError(f"{label}: {INDEX} names files outside of the folder")
        if lost := [file.name for file in files if not file.is_file()]:
            raise MergeError(f"{label}: {lost[0]} is missing, which {INDEX} names")
        return files
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if old := sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern)):
        raise MergeError(
            f"{label}: {old[0]} is a pickle, which can run code, so it is not read; write safetensors once with "
            "transformers' from_pretrained and save_pretrained, under the class that config.json names"
        )
    raise MergeError(f"{label}: holds no {SINGLE} and no {INDEX}")


def _header(file: Path) -> list[tuple[str, _Place]]:
    size = file.stat().st_size
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if not 2 <= length <= min(MOST_HEADER_BYTES, size - 8):
                raise ValueError("its header does not fit into it")
            header = json.loads(opened.read(length))
        header.pop("__metadata__", None)
        places = [(str(name), _place(file, 8 + length, said)) for name, said in header.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MergeError(f"{file}: is no safetensors file: {error}; fetch it again") from None
    if any(place.offset + place.spec.bytes > size for _, place in places):
        raise MergeError(f"{file}: ends before its tensors do; it was cut off, fetch it again")
    return places


def _place(file: Path, begin: int, said: Mapping[str, Any]) -> _Place:
    if said["dtype"] not in DTYPES:
        raise MergeError(f"{file}: holds tensors of type {said['dtype']}, which cannot be merged")
    first, last = said["data_offsets"]
    spec = Spec(tuple(int(size) for size in said["shape"]), DTYPES[said["dtype"]])
    if last - first != spec.bytes or first < 0 or any(size < 0 for size in spec.shape):
        raise ValueError("a tensor's place is not as large as the tensor")
    return _Place(file, begin + first, spec)
