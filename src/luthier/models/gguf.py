"""A model in a .gguf file: weights are dequantised as they are read, and from then on it is a plain model.

transformers rebuilds configuration, tokenizer and weights from what the file says of itself
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). It holds no code.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import GgufConfig

from luthier import extras

ENDING = ".gguf"


def is_gguf(place: str) -> bool:
    """Whether a place is a file of this form."""
    return place.endswith(ENDING) and Path(place).is_file()


@contextmanager
def opened(place: str) -> Iterator[dict[str, Any]]:
    """What `from_pretrained` is to be told, of any place; of a .gguf file, it sees that file and nothing beside it.

    Raises MissingExtra where what reads such files is not installed.
    """
    if not is_gguf(place):
        yield {"pretrained_model_name_or_path": place}
        return
    for module in ("gguf", "accelerate"):
        extras.require(module, extra="gguf", needed_for=f"a {ENDING} file")
    with tempfile.TemporaryDirectory() as empty:
        yield {"pretrained_model_name_or_path": empty, "gguf_file": str(Path(place).resolve())}


def dequantised(place: str) -> dict[str, Any]:
    """What a model is to be told as well: transformers would fetch a kernel from the hub to keep the blocks packed."""
    return {"quantization_config": GgufConfig(dequantize=True)} if is_gguf(place) else {}
