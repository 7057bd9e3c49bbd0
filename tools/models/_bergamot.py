"""Weights in Marian's binary format, version 1, as Bergamot ships them: https://github.com/marian-nmt/marian-dev,
`src/common/binary.cpp`.

A version and a count; then of each tensor the sizes of name and shape, its type and its bytes; then all names, all
shapes and, after a gap that aligns them, all contents.
"""

import struct
from math import prod
from pathlib import Path

import torch
from torch import Tensor

FLOAT32, INTGEMM8 = 0x0404, 0x4101
"""Types of tensors: single precision, and bytes to be divided by the number that stands behind them."""
EMBEDDING = "Wemb"


def read(path: Path) -> dict[str, Tensor]:
    """Every matrix and vector of a file by its name, as torch's layers hold them, in single precision."""
    content = bytearray(path.read_bytes())
    version, count = struct.unpack_from("<QQ", content)
    assert version == 1, f"{path} is of version {version} of Marian's binary format; 1 is read"
    headers = list(struct.iter_unpack("<QQQQ", content[16 : 16 + 32 * count]))
    offset = 16 + 32 * count
    names, shapes = [], []
    for name_size, *_ in headers:
        names.append(content[offset : offset + name_size - 1].decode())
        offset += name_size
    for _, _, num_axes, _ in headers:
        shapes.append(struct.unpack_from(f"<{num_axes}i", content, offset))
        offset += 4 * num_axes
    offset += 8 + struct.unpack_from("<Q", content, offset)[0]
    tensors = {}
    for name, shape, (_, kind, _, size) in zip(names, shapes, headers, strict=True):
        if not name.startswith("special:") and not name.endswith("_QuantMultA"):  # settings; factors of activations
            tensors[name] = _tensor(name, content[offset : offset + size], shape, kind)
        offset += size
    return tensors


def _tensor(name: str, content: bytearray, shape: tuple[int, ...], kind: int) -> Tensor:
    if kind == FLOAT32:
        return torch.frombuffer(content, dtype=torch.float32, count=prod(shape)).reshape(shape).clone()
    assert kind == INTGEMM8, f"{name} is of type {kind:#x}, which is not read"
    whole = torch.frombuffer(content, dtype=torch.int8, count=prod(shape)).float()
    factor = torch.frombuffer(content, dtype=torch.float32, count=1, offset=prod(shape))
    # Factors of products are stored transposed, which is (out, in) as torch has them; the shape is not.
    return (whole / factor).reshape(shape if name == EMBEDDING else shape[::-1])
