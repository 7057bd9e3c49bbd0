"""Chat templates in the formats of well-known families, written by us, and a tokenizer that knows their marks.

The tokenizer is of bytes, with a few pairs that are one token: a blank with a letter, a word's letters, two line ends.
"""

from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Format:
    """A family's way to write a chat."""

    template: str
    stop: str
    """The token that ends the assistant's turn."""
    before: str
    """What stands right before the assistant's words."""


FORMATS = {
    "llama-3": Format(
        "{{ bos_token }}{% for m in messages %}"
        "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        stop="<|eot_id|>",
        before="assistant<|end_header_id|>\n\n",
    ),
    "qwen": Format(
        "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        stop="<|im_end|>",
        before="<|im_start|>assistant\n",
    ),
    "gemma": Format(
        "{{ bos_token }}{% set told = '' %}{% if messages[0].role == 'system' %}"
        "{% set told = messages[0].content + '\n\n' %}{% set messages = messages[1:] %}{% endif %}"
        "{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}"
        "{{ '<start_of_turn>' + role + '\n' + (told if loop.first else '') + m.content | trim + '<end_of_turn>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        stop="<end_of_turn>",
        before="<start_of_turn>model\n",
    ),
    "mistral": Format(
        "{{ bos_token }}{% set told = '' %}{% if messages[0].role == 'system' %}"
        "{% set told = messages[0].content + '\n\n' %}{% set messages = messages[1:] %}{% endif %}"
        "{% for m in messages %}{% if m.role == 'user' %}"
        "{{ '[INST] ' + (told if loop.first else '') + m.content + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
        stop="</s>",
        before="[/INST] ",
    ),
    "phi": Format(
        "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
        stop="<|end|>",
        before="<|assistant|>\n",
    ),
    "chatml": Format(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        stop="<|im_end|>",
        before="<|im_start|>assistant\n",
    ),
}

THINKING = (
    "{% set last = namespace(user=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.index0 > last.user and '</think>' not in m.content %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m.content.split('</think>')[-1].lstrip('\n') if loop.index0 < last.user else m.content }}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Drops the thinking of earlier turns, and gives the last one empty thinking where it has none."""

MARKS = (
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>"),
    *("<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]", "<think>", "</think>"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
)
PAIRS = (("Ġ", "t"), ("Ġ", "h"), ("h", "e"), ("Ċ", "Ċ"), ("i", "n"), ("r", "e"), ("Ġh", "e"))


def tokenizer(template: str | None = None, **settings: Any) -> PreTrainedTokenizerFast:
    """Of bytes; `settings` change its special tokens, and one that is None is not there."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*letters, *("".join(pair) for pair in PAIRS)])}
    made = Tokenizer(BPE(vocabulary, list(PAIRS)))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "model_max_length": 512} | settings
    given = {name: value for name, value in named.items() if value is not None}
    loaded = PreTrainedTokenizerFast(tokenizer_object=made, **given)
    loaded.chat_template = template
    return loaded


VOCABULARY = {"vocab_size": 300, "max_position_embeddings": 512}
"""Settings of a tiny model for it."""
