"""Words as sub-words: each as it would be within its text, whatever the tokenizer does with blanks.

No sub-word reaches over two words: `),` stays two of them, even where a tokenizer has a token for both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow
from jaxtyping import Int
from numpy import ndarray
from transformers import PreTrainedTokenizerBase

from luthier.errors import RecipeError
from luthier.tasks._sentences import Sentence
from luthier.tasks._tokens import FLAGS, IDS, limit_of
from luthier.tasks._windows import windows

SHARED = 4
"""`stride: auto` shares one part of so many of a window's tokens."""


@dataclass(frozen=True)
class Subwords:
    """The sub-words of a row's words, one word behind the other."""

    ids: list[int]
    sizes: Int[ndarray, " words"]
    """Of each word, how many; 0 of one that the tokenizer drops, as a lone control character."""
    before: list[int]
    after: list[int]
    """The special tokens around them."""

    def at_most(self, size: int) -> "Subwords":
        """The same with no more than the first sub-words of each word."""
        if self.sizes.max() <= size:
            return self
        starts = np.cumsum(self.sizes) - self.sizes
        kept = np.minimum(self.sizes, size)
        ids = [i for start, num in zip(starts, kept, strict=True) for i in self.ids[start : start + num]]
        return Subwords(ids, kept, self.before, self.after)


class Stretch(NamedTuple):
    """A row's window as a model reads it."""

    row: int
    ids: list[int]
    """With special tokens."""
    words: slice
    """The words that belong to the window."""
    starts: Int[ndarray, " words"]
    """Place of the first sub-word of each of them."""
    sizes: Int[ndarray, " words"]
    is_cut: bool
    """Whether a word lost sub-words, which only one does that is longer than a window."""


def room(
    tokenizer: PreTrainedTokenizerBase, max_length: int | Literal["auto"], stride: int | Literal["auto"]
) -> tuple[int, int]:
    """Sub-words of a window, and how many of them two windows share.

    Raises RecipeError where that leaves a window nothing of its own.
    """
    limit = limit_of(max_length, tokenizer)
    num_special = tokenizer.num_special_tokens_to_add()
    shared = limit // SHARED if stride == "auto" else stride
    if shared >= limit - num_special:
        raise RecipeError(
            f"task.stride: {shared} tokens, and {num_special} special ones, leave nothing of task.max_length {limit}; "
            "say less, or a larger max_length"
        )
    return limit - num_special, shared


def stretches(
    sentences: Sequence[Sentence], tokenizer: PreTrainedTokenizerBase, capacity: int, stride: int
) -> Iterator[Stretch]:
    """The windows of rows, as `windows` cuts them, row by row."""
    for number, whole in enumerate(subwords(sentences, tokenizer)):
        row = whole.at_most(capacity - stride)
        starts = np.cumsum(row.sizes) - row.sizes + len(row.before)
        for window in windows(row.sizes.tolist(), capacity, stride):
            ids = [*row.before, *row.ids[window.start : window.end], *row.after]
            words = slice(window.first_word, window.end_word)
            is_cut = len(row.ids) < len(whole.ids)
            yield Stretch(number, ids, words, starts[words] - window.start, row.sizes[words], is_cut)


def subwords(sentences: Sequence[Sentence], tokenizer: PreTrainedTokenizerBase) -> list[Subwords]:
    """The sub-words of each sentence's words."""
    gap = _gap(tokenizer)
    written = [
        [gap + word if follows else word for word, follows in zip(each.words, each.follows_blank, strict=True)]
        for each in sentences
    ]
    tokens = tokenizer(written, is_split_into_words=True, truncation=False, verbose=False)
    made = []
    for encoding, sentence in zip(tokens.encodings or (), sentences, strict=True):
        whose = encoding.word_ids
        # A model cannot read nothing, which is left of dropped words where there are no special tokens.
        ids = encoding.ids or [tokenizer.pad_token_id]
        inside = [place for place, word in enumerate(whose) if word is not None]
        start, end = (inside[0], inside[-1] + 1) if inside else (0, 0)
        sizes = np.bincount([whose[place] for place in inside], minlength=len(sentence.words))
        made.append(Subwords([ids[place] for place in inside], sizes, ids[:start], ids[end:]))
    return made


def as_columns(columns: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Windows as columns of prepared rows, with what a model takes beside its tokens."""
    lengths = [len(ids) for ids in columns["input_ids"]]
    flags = {"attention_mask": 1, "token_type_ids": 0}
    made: dict[str, Any] = {
        name: pyarrow.array(values, IDS) if isinstance(values[0], list | np.ndarray) else values
        for name, values in columns.items()
    }
    for name in flags.keys() & set(tokenizer.model_input_names):
        made[name] = pyarrow.array([[flags[name]] * length for length in lengths], FLAGS)
    return {**made, "length": lengths}


def _gap(tokenizer: PreTrainedTokenizerBase) -> str:
    """What is written before a word that follows a blank, so that its sub-words are those it has in a text.

    Byte-level tokenizers (GPT-2, RoBERTa, Llama 3) want the blank, others mark a word's beginning by themselves.
    """

    def ids(*words: str) -> list[int]:
        told: list[int] = tokenizer(list(words), is_split_into_words=True, add_special_tokens=False)["input_ids"]
        return told

    whole = ids("a b")
    return " " if ids("a", " b") == whole != ids("a", "b") else ""
