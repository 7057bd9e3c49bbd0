"""Rows of one to three texts that a model reads apart from each other, and their batches."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from luthier.data.columns import BadRow, Column, Layout, short
from luthier.tasks._tokens import columns_of, joined_columns, padded, texts_apart, was_cut

_FIRST = ("sentence1", "sentence", "text1", "question1", "premise", "content", "message")
_SECOND = ("sentence2", "text2", "question2", "hypothesis")
_ANCHOR = Column("anchor", ("query", "question", "text", *_FIRST))
_POSITIVE = Column("positive", ("answer", "document", "passage", "context", "text_pair", *_SECOND))


def _scored(row: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """The row with its score as a number."""
    if "score" not in row:
        return dict(row)
    try:
        score = float(row["score"])
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise BadRow(f"score is {short(row['score'])}, which is no finite number")
    return {**row, "score": score}


LAYOUTS: dict[str, Layout] = {
    "scored": Layout(
        (
            Column("text", _FIRST),
            Column("text_pair", _SECOND),
            Column("score", ("similarity", "similarity_score", "label"), holds="label", target=True),
        ),
        _scored,
    ),
    "triplets": Layout((_ANCHOR, _POSITIVE, Column("negative", ("hard_negative", "negative_passage")))),
    "pairs": Layout((_ANCHOR, _POSITIVE)),
    "labelled": Layout(
        (
            Column("text", _FIRST),
            Column("label", ("labels", "class", "category", "topic", "intent"), holds="label", target=True),
        )
    ),
}
"""What a row may be; the first that a file's columns serve is taken."""
TEXTS = ("text", "text_pair", "anchor", "positive", "negative")
"""Columns that hold a text, in their order."""
_TOLD_BY = {"score": "scored", "negative": "triplets", "positive": "pairs", "label": "labelled"}


def kind_of(rows: Dataset) -> str | None:
    """What the rows are; None of texts with nothing to learn from."""
    return next((kind for name, kind in _TOLD_BY.items() if name in rows.column_names), None)


def tokens_of(piece: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, limit: int) -> dict[str, Any]:
    """Rows' tokens, those of a row's texts one after the other; `sizes` tells how many are of each."""
    texts = [piece[name] for name in TEXTS if name in piece]
    flat = [text for row in zip(*texts, strict=True) for text in row]
    tokens = tokenizer(flat, truncation=True, max_length=limit, return_attention_mask=True)
    if len(texts) == 1:
        return {**columns_of(tokens), "cut": was_cut(tokens)}
    return joined_columns(tokens, [len(texts)] * len(texts[0]))


def collated(rows: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """A model's inputs: each (rows, seq), or (rows, texts, seq) of rows with several texts."""
    if "sizes" not in rows:
        return padded(rows, tokenizer)
    inputs, nums = texts_apart(rows, tokenizer)
    return {name: each.unflatten(0, (len(nums), -1)) for name, each in inputs.items()}


def text_numbers(piece: Mapping[str, list[Any]]) -> list[list[int]]:
    """A number for each text of each row, the same for equal ones."""
    return [[_number(text) for text in row] for row in zip(*(piece[n] for n in TEXTS if n in piece), strict=True)]


def _number(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def listed() -> str:
    """The columns of each kind of rows, for a message."""
    return "; ".join(f"{kind}: {', '.join(c.name for c in layout.columns)}" for kind, layout in LAYOUTS.items())
