"""The tensors and nodes of an ONNX file, read from its protobuf: https://github.com/onnx/onnx, `onnx/onnx.proto`.

Only what a model needs whose weights stand in the file itself; the package `onnx` is not needed.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

GRAPH, NODE, INITIALISER = 7, 1, 5
"""Numbers of the fields of a model and of its graph."""
DTYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64}


@dataclass(frozen=True)
class Node:
    """One operation."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read(path: Path) -> tuple[list[Node], dict[str, ndarray]]:
    """Operations, and the stored tensors by their names."""
    (graph,) = fields(memoryview(path.read_bytes()))[GRAPH]
    inside = fields(graph)
    return [_node(fields(each)) for each in inside[NODE]], dict(_tensor(fields(each)) for each in inside[INITIALISER])


def fields(message: memoryview) -> dict[int, list[Any]]:
    """The values of each field of a message: whole numbers, or bytes, in which messages may be nested."""
    found: dict[int, list[Any]] = defaultdict(list)
    offset = 0
    while offset < len(message):
        key, offset = _varint(message, offset)
        if key & 7 == 0:
            value, offset = _varint(message, offset)
            found[key >> 3].append(value)
        else:
            size, offset = _varint(message, offset) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], offset)
            found[key >> 3].append(message[offset : offset + size])
            offset += size
    return found


def _varint(message: memoryview, offset: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = message[offset]
        value |= (byte & 127) << shift
        offset, shift = offset + 1, shift + 7
        if byte < 128:
            return value, offset


def _node(inside: dict[int, list[Any]]) -> Node:
    inputs, outputs, name, kind = ([bytes(value).decode() for value in inside[number]] for number in (1, 2, 3, 4))
    return Node("".join(name), "".join(kind), tuple(inputs), tuple(outputs))


def _tensor(inside: dict[int, list[Any]]) -> tuple[str, ndarray]:
    """Name and content: raw bytes, or a packed list of numbers where there are few."""
    (kind,), (name,), floats, wholes, raw = (inside[number] for number in (2, 8, 4, 5, 9))
    content = np.array(_varints(wholes[0]), DTYPES[kind]) if wholes else np.frombuffer((raw or floats)[0], DTYPES[kind])
    return bytes(name).decode(), content.reshape(inside[1])


def _varints(message: memoryview) -> list[int]:
    values, offset = [], 0
    while offset < len(message):
        value, offset = _varint(message, offset)
        values.append(value - 2**64 if value >= 2**63 else value)
    return values
