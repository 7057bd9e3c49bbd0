"""Tiny random models of many families, built from configs: 4 blocks, width 32, 64 words, no network."""

from typing import Any, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    AutoModelForCTC,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForSpeechSeq2Seq,
    PreTrainedModel,
)

Settings = dict[str, Any]

_NAMES: Settings = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
}
_WORDS: Settings = {"vocab_size": 64, "max_position_embeddings": 128, "pad_token_id": 0}
_ENDS: Settings = {"bos_token_id": 1, "eos_token_id": 2}
_ENCODER = _NAMES | _WORDS
_DECODER = _ENCODER | _ENDS | {"num_key_value_heads": 2}
_ENCODER_DECODER = _WORDS | _ENDS | {
    "d_model": 32,
    "encoder_layers": 4,
    "decoder_layers": 4,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "decoder_start_token_id": 2,
}  # fmt: skip

FAMILIES: dict[str, Settings] = {
    "bert": _ENCODER,
    "roberta": _ENCODER | {"pad_token_id": 1},
    "distilbert": _WORDS | {"dim": 32, "hidden_dim": 64, "n_layers": 4, "n_heads": 4},
    "albert": _ENCODER | {"embedding_size": 16},
    "electra": _ENCODER | {"embedding_size": 16},
    "deberta-v2": _ENCODER | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "conv_kernel_size": 3},
    "modernbert": _ENCODER | _ENDS | {"cls_token_id": 1, "sep_token_id": 2},
    "gpt2": _ENDS | {"vocab_size": 64, "pad_token_id": 0, "n_positions": 128, "n_embd": 32, "n_layer": 4, "n_head": 4},
    "gpt_neox": _ENCODER | _ENDS,
    "llama": _DECODER,
    "mistral": _DECODER,
    "qwen2": _DECODER,
    "gemma3_text": _DECODER | {"head_dim": 8},
    "phi3": _DECODER,
    "opt": _ENCODER | _ENDS | {"word_embed_proj_dim": 32, "ffn_dim": 64},
    "bloom": _ENDS | {"vocab_size": 64, "pad_token_id": 0, "hidden_size": 32, "n_layer": 4, "n_head": 4},
    "mixtral": _DECODER | {"num_local_experts": 4},
    "t5": {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 4, "num_heads": 4}
    | {"decoder_start_token_id": 0},
    "bart": _ENCODER_DECODER,
    "marian": _ENCODER_DECODER,
    "whisper": _ENCODER_DECODER | {"num_mel_bins": 8, "max_source_positions": 16, "max_target_positions": 32},
    "wav2vec2": _NAMES
    | {"vocab_size": 64, "conv_dim": (32, 32), "conv_kernel": (10, 3), "conv_stride": (5, 2)}
    | {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2},
    "xlnet": {"vocab_size": 64, "d_model": 32, "n_layer": 4, "n_head": 4, "d_inner": 64},
}
"""The settings of each family's config, under transformers' `model_type`."""

_HEADS = {
    "base": (AutoModel,),
    "sequence-classification": (AutoModelForSequenceClassification, AutoModelForAudioClassification),
    "lm": (
        AutoModelForSeq2SeqLM,
        AutoModelForSpeechSeq2Seq,
        AutoModelForCTC,
        AutoModelForMaskedLM,
        AutoModelForCausalLM,
    ),
}


def tiny(
    family: str,
    *,
    head: Literal["sequence-classification", "base", "lm"] = "sequence-classification",
    num_labels: int = 3,
    **settings: Any,
) -> PreTrainedModel:
    """A family's model in eval mode, always with the same random weights; `settings` go to its config."""
    config = AutoConfig.for_model(family, **FAMILIES[family] | settings, num_labels=num_labels)
    build = next(auto for auto in _HEADS[head] if type(config) in auto._model_mapping)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build.from_config(config).eval()
