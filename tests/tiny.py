"""Tiny random models of many families, built from configs: 4 blocks, width 32, 64 words, no network.

And what they are fed with: a tokenizer of whole words, rows of text for each problem, and their batches.
"""

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    AutoModelForCTC,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForSpeechSeq2Seq,
    AutoModelForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from luthier.component import Facts
from luthier.tasks import Batch
from luthier.tasks.text_classification import TextClassification

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
    "token-classification": (AutoModelForTokenClassification,),
    "question-answering": (AutoModelForQuestionAnswering,),
    "multiple-choice": (AutoModelForMultipleChoice,),
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
    head: str = "sequence-classification",
    num_labels: int = 3,
    **settings: Any,
) -> PreTrainedModel:
    """A family's model in eval mode, always with the same random weights; `settings` go to its config."""
    config = AutoConfig.for_model(family, **FAMILIES[family] | settings, num_labels=num_labels)
    build = next(auto for auto in _HEADS[head] if type(config) in auto._model_mapping)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build.from_config(config).eval()


WORDS = [f"w{number}" for number in range(60)]
LABELS = ("good", "neutral", "poor")
PROBLEMS = ("single-label", "multi-label", "regression")


def tokenizer(padding_side: str = "right", **settings: Any) -> PreTrainedTokenizerFast:
    """`[CLS] text [SEP]`, with a pair `[CLS] text [SEP] pair [SEP]`; whole words, 64 in all."""
    numbers = {word: number for number, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS])}
    words = Tokenizer(WordLevel(numbers, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=words, padding_side=padding_side, model_max_length=128, **special, **settings
    )


def texts(num_rows: int, *, longest: int = 20, seed: int = 0) -> list[str]:
    """Texts of random words and very different lengths; row by row the same for the same seed."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=random.integers(1, longest + 1))) for _ in range(num_rows)]


def rows(num_rows: int, problem: str = "single-label", *, longest: int = 20, seed: int = 0) -> Dataset:
    """Rows with text and label; every label occurs among the first three."""
    written = texts(num_rows, longest=longest, seed=seed)
    random = np.random.default_rng((seed, 1))
    if problem == "regression":
        labels: list[Any] = random.normal(size=num_rows).tolist()
    elif problem == "multi-label":
        drawn = random.random((num_rows, 3)) < 0.4
        labels = [
            [LABELS[i]] if i < 3 else [name for name, on in zip(LABELS, d, strict=True) if on]
            for i, d in enumerate(drawn)
        ]
    else:
        labels = [LABELS[i] if i < 3 else LABELS[random.integers(3)] for i in range(num_rows)]
    return Dataset.from_dict({"text": written, "label": labels})


def separable(num_rows: int) -> Dataset:
    """Rows whose one word tells their label."""
    words = [WORDS[number % 3] for number in range(num_rows)]
    return Dataset.from_dict({"text": [f"{w} {w}" for w in words], "label": [LABELS[WORDS.index(w)] for w in words]})


def classification(problem: str = "single-label", **settings: Any) -> TextClassification:
    """A resolved task over the three labels."""
    task = TextClassification.model_validate({"problem": problem, **settings})
    return task.resolve(Facts(train=rows(32, problem)))


def batch(task: TextClassification, data: Dataset, *, padding_side: str = "right") -> Batch:
    """All rows in one batch."""
    processor = tokenizer(padding_side)
    return task.collate(task.prepare(data, processor)[:], processor)


def model_for(task: TextClassification, family: str = "bert", **settings: Any) -> PreTrainedModel:
    """A tiny model with the task's head."""
    configuration = task.configuration()
    num_labels = configuration.pop("num_labels", len(task.labels))
    return tiny(family, num_labels=num_labels, **configuration, **settings)
