"""Chat templates: a tokenizer's own, or a named one of ours that is saved with the model.

`chatml` is OpenAI's format, for tokenizers that have its two tokens; `plain` needs nothing but an end-of-text token:
`User: ...`, `Assistant: ...`, a line each.
"""

from collections.abc import Mapping
from typing import Literal

from transformers import PreTrainedTokenizerBase

from luthier.errors import ModelError

Template = Literal["auto", "own", "none", "plain", "chatml"]

NAMED = {
    "plain": (
        "{{ bos_token }}{% for message in messages %}"
        "{% if message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token + '\n' }}"
        "{% elif message['role'] == 'system' %}{{ message['content'] + '\n' }}"
        "{% else %}{{ message['role'] | capitalize + ': ' + message['content'] + '\n' }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
    ),
    "chatml": (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
}
NEEDED = {"plain": (), "chatml": ("<|im_start|>", "<|im_end|>")}
"""Tokens that a vocabulary must have for it."""
PADDING = (
    *("<|pad|>", "<pad>", "[PAD]", "<|finetune_right_pad_id|>", "<|padding|>", "<|PAD|>"),
    *("<|reserved_special_token_0|>", "<unused0>", "<|endoftext|>", "<unk>", "[UNK]"),
)
"""Tokens that say nothing in a text, the best padding first."""


def put(tokenizer: PreTrainedTokenizerBase, template: Template, *, chats: bool) -> None:
    """Give a tokenizer the template that is asked for; `auto` gives `plain` to one without its own, for chats.

    Raises ModelError where the template cannot serve.
    """
    if template == "auto" and chats and not tokenizer.chat_template:
        template = "plain"
    if template == "own" and not tokenizer.chat_template:
        raise ModelError("task.template: this tokenizer has no chat template of its own; say plain")
    if template not in NAMED:
        return
    missing = [token for token in NEEDED[template] if token not in tokenizer.get_vocab()]
    if missing:
        raise ModelError(f"task.template: {template} needs {' and '.join(missing)}, not in this vocabulary; say plain")
    if tokenizer.eos_token is None and template == "plain":
        raise ModelError("task.template: plain needs an end-of-text token, and this tokenizer has none")
    tokenizer.chat_template = NAMED[template]


def name_of(tokenizer: PreTrainedTokenizerBase, asked: Template, *, chats: bool) -> Template:
    """What `auto` came to on a tokenizer that `put` has seen."""
    if asked != "auto":
        return asked
    if not tokenizer.chat_template:
        return "none"
    named = [name for name, text in NAMED.items() if text == tokenizer.chat_template]
    return named[0] if named and chats else "own"  # type: ignore[return-value]


def text_of(tokenizer: PreTrainedTokenizerBase, *, tools: bool) -> str:
    """The template itself; a tokenizer may have one for chats with tools."""
    try:
        template: str = tokenizer.get_chat_template(tools=[] if tools else None)
    except ValueError as error:
        raise ModelError(f"task.template: {error}") from None
    return template


def is_ours(template: str) -> bool:
    """Whether a template may be trusted to end."""
    return template in NAMED.values()


def specials(tokenizer: PreTrainedTokenizerBase) -> Mapping[str, int]:
    """Tokens that stand for no text, by what they are written as."""
    named = {token: tokenizer.convert_tokens_to_ids(token) for token in tokenizer.all_special_tokens}
    return {**tokenizer.get_added_vocab(), **named}


def choose_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    """A padding token that ends no text, where the vocabulary has one; else it stays what it is.

    Labels come from positions and padding from a mask, so that even an end-of-text token that pads is learnt where it
    ends a text.
    """
    template = str(tokenizer.chat_template or "")
    if tokenizer.pad_token not in (None, tokenizer.eos_token) and tokenizer.pad_token not in template:
        return
    vocabulary, taken = tokenizer.get_vocab(), {tokenizer.eos_token, tokenizer.bos_token}
    for token in PADDING:
        if token in vocabulary and token not in taken and token not in template:
            tokenizer.pad_token = token
            return
