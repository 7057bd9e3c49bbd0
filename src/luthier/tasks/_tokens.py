"""Tokens of text: how they are kept, how long rows may be, and how a batch of them is padded."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchEncoding, PreTrainedTokenizerBase

from luthier.component import Facts
from luthier.errors import RecipeError

IDS = pyarrow.list_(pyarrow.int32())
FLAGS = pyarrow.list_(pyarrow.int8())
"""How tokens are kept, and what is said of each token beside."""
IGNORED = -100
"""The target of a token that no loss looks at; torch's and transformers' own number for it."""
LONGEST = 512
"""Tokens that `max_length: auto` never goes beyond, unless a task says more: attention's cost grows with the square."""


def columns_of(tokens: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer's answer as columns of prepared rows, with `length`."""
    columns: dict[str, Any] = {
        name: pyarrow.array(values, IDS if name == "input_ids" else FLAGS)
        for name, values in tokens.items()
        if name in ("input_ids", "attention_mask", "token_type_ids")
    }
    return {**columns, "length": [len(ids) for ids in tokens["input_ids"]]}


def joined_columns(tokens: BatchEncoding, nums: Sequence[int]) -> dict[str, Any]:
    """The same for rows of several texts each, one text behind the other: so many of each row. `sizes` tells the tokens
    of each text, `cut` whether any lost some."""
    ends = np.cumsum(nums)
    rows = [range(end - num, end) for end, num in zip(ends, nums, strict=True)]
    lengths, cut = [len(ids) for ids in tokens["input_ids"]], was_cut(tokens)
    columns: dict[str, Any] = {
        name: pyarrow.array(
            [np.concatenate([tokens[name][n] for n in row]) for row in rows], IDS if name == "input_ids" else FLAGS
        )
        for name in ("input_ids", "attention_mask", "token_type_ids")
        if name in tokens
    }
    return {
        **columns,
        "sizes": [[lengths[n] for n in row] for row in rows],
        "length": [sum(lengths[n] for n in row) for row in rows],
        "cut": [any(cut[n] for n in row) for row in rows],
    }


def texts_apart(rows: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> tuple[dict[str, Tensor], list[int]]:
    """A model's inputs, each (texts, seq), of such rows, and how many texts each row has."""
    sizes = [np.asarray(each) for each in rows["sizes"]]
    flat = {
        name: [
            text
            for row, size in zip(rows[name], sizes, strict=True)
            for text in np.split(np.asarray(row), size.cumsum()[:-1])
        ]
        for name in tokenizer.model_input_names
        if name in rows
    }
    return padded(flat, tokenizer), [len(size) for size in sizes]


def was_cut(tokens: BatchEncoding) -> list[bool]:
    """Whether each row lost tokens to a limit; tokenizers written in Python do not tell."""
    if not tokens.encodings:
        return [False] * len(tokens["input_ids"])
    return [bool(encoding.overflowing) for encoding in tokens.encodings]


def settled_length(
    asked: int | Literal["auto"], facts: Facts, *, longest: int = LONGEST, setting: str = "task.max_length"
) -> int | Literal["auto"]:
    """The limit of a row's tokens, once the model's own is known.

    Raises RecipeError where more is asked than the model takes.
    """
    if not facts.num_positions:
        return asked
    if asked == "auto":
        return min(longest, facts.num_positions)
    if asked > facts.num_positions:
        raise RecipeError(f"{setting}: {asked}, but this model takes {facts.num_positions} at most")
    return asked


def limit_of(max_length: int | Literal["auto"], tokenizer: PreTrainedTokenizerBase, *, longest: int = LONGEST) -> int:
    """Most tokens of a row; of a task that is not resolved yet, what the tokenizer alone allows."""
    return min(longest, tokenizer.model_max_length) if max_length == "auto" else max_length


def padded(rows: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """A model's inputs, each (batch, seq), padded on the tokenizer's side."""
    padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    return {
        name: stacked(rows[name], padding.get(name, 0), tokenizer.padding_side)
        for name in tokenizer.model_input_names
        if name in rows
    }


def stacked(rows: Sequence[Any], padding: float, side: str = "right") -> Tensor:
    """Rows of unlike lengths, as one tensor (batch, longest, ...)."""
    tensors = [torch.from_numpy(np.asarray(row)) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=padding, padding_side=side)
