"""Weights in CTranslate2's binary format, version 6: https://github.com/OpenNMT/CTranslate2, `model_spec.py`.

A header, then each tensor: name, shape, type, bytes. Then aliases: a second name for a tensor that is there.
"""

import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)
"""By their numbers in the file."""


class _Reader:
    """Little-endian numbers and texts, one after the other."""

    def __init__(self, content: bytes) -> None:
        self.content, self.offset = bytearray(content), 0

    def number(self, form: str) -> Any:
        (value,) = struct.unpack_from("<" + form, self.content, self.offset)
        self.offset += struct.calcsize(form)
        return value

    def text(self) -> str:
        size = self.number("H")  # the NUL at its end is counted
        self.offset += size
        return self.content[self.offset - size : self.offset - 1].decode()

    def tensor(self) -> Tensor:
        shape = [self.number("I") for _ in range(self.number("B"))]
        dtype = TYPES[self.number("B")]
        size = self.number("I")
        self.offset += size
        return torch.frombuffer(
            self.content, dtype=dtype, count=size // dtype.itemsize, offset=self.offset - size
        ).reshape(shape)


def read(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file, by its name."""
    reader = _Reader(path.read_bytes())
    version, _, _ = reader.number("I"), reader.text(), reader.number("I")
    assert version == 6, f"{path} is of version {version} of CTranslate2's format; 6 is read"
    tensors = {reader.text(): reader.tensor() for _ in range(reader.number("I"))}
    for _ in range(reader.number("I")):
        alias, name = reader.text(), reader.text()
        tensors[alias] = tensors[name]
    return tensors
