"""Texts as tokens with their labels: tokenised whole, cut or laid out in windows, packed, and judged before training.

A label stands at its own token, as in transformers; the first of a sequence has none, as nothing comes before it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow
from datasets import Dataset
from jaxtyping import Int
from numpy import ndarray
from transformers import PreTrainedTokenizerBase

from luthier.data.packing import pack
from luthier.data.spool import Spool
from luthier.errors import DataError, ModelError
from luthier.models.packed import packed_inputs
from luthier.tasks._supervision import Written, learnt
from luthier.tasks._tokens import IDS, IGNORED

PACKED_AT_ONCE = 256
"""Packed rows that are held in Python before they go to Arrow."""


@dataclass(frozen=True)
class Tokens:
    """A sequence as a model reads it."""

    ids: Int[ndarray, " tokens"]
    labels: Int[ndarray, " tokens"]
    context: int
    """Tokens from which an answer is written; 0 where none is."""
    was_cut: bool = False


def tokens_of(
    written: Sequence[Written],
    tokenizer: PreTrainedTokenizerBase,
    *,
    is_rendered: bool,
    learn: str,
    end: int | None = None,
) -> Iterator[Tokens]:
    """The tokens of texts; what is not rendered by a template gets the tokenizer's first tokens and an `end`."""
    if not tokenizer.is_fast:
        raise ModelError("task: this tokenizer does not tell which characters a token stands for; causal-lm needs it")
    told = tokenizer([each.text for each in written], add_special_tokens=False, return_offsets_mapping=True)
    before = [] if is_rendered else leading(tokenizer)
    for each, ids, places in zip(written, told["input_ids"], told["offset_mapping"], strict=True):
        offsets = np.array(places, dtype=np.int64).reshape(-1, 2)
        spans = each.answers[-1:] if learn == "last" else each.answers
        chosen = np.full(len(ids), True) if learn == "everything" else learnt(offsets, spans)
        last = [end] if end is not None and each.answers else []
        whole = np.array([*before, *ids, *last], dtype=np.int64)
        labels = np.where([*[learn == "everything"] * len(before), *chosen, *[True] * len(last)], whole, IGNORED)
        labels[:1] = IGNORED
        if not each.answers:
            labels[:] = IGNORED
        yield Tokens(whole, labels, len(before) + int((offsets[:, 1] <= each.context).sum()))


def leading(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special tokens that a tokenizer puts before a text."""
    told = tokenizer("a", return_special_tokens_mask=True)
    is_special = [*told["special_tokens_mask"], 0]
    ids: list[int] = told["input_ids"][: is_special.index(0)]
    return ids


def cut(tokens: Tokens, limit: int) -> Tokens:
    """The beginning of a sequence; of one that asks for an answer alone, the end."""
    if len(tokens.ids) <= limit:
        return tokens
    kept = slice(0, limit) if np.any(tokens.labels != IGNORED) else slice(-limit, None)
    return Tokens(tokens.ids[kept], tokens.labels[kept], min(tokens.context, limit), was_cut=True)


def windows(tokens: Tokens, limit: int, *, whole_last: bool) -> Iterator[Tokens]:
    """Windows that share one token with the one before, so that every token but the first is judged once.

    With `whole_last` the last reaches back as far as the limit allows: it is what an answer goes on from.
    """
    num_tokens = len(tokens.ids)
    starts = range(0, max(1, num_tokens - 1), limit - 1)
    for start in starts:
        stop, is_last = min(start + limit, num_tokens), start == starts[-1]
        begin = max(0, stop - limit) if is_last and whole_last else start
        labels = tokens.labels[begin:stop].copy()
        labels[: start - begin + 1] = IGNORED
        yield Tokens(tokens.ids[begin:stop], labels, max(0, tokens.context - begin) if is_last else 0)


@dataclass
class Judgement:
    """Counts of rows that teach nothing, or the wrong thing."""

    stops: set[int] = field(default_factory=set)
    """Tokens that end an answer."""
    num_rows: int = 0
    num_learnt: int = 0
    """Rows with something to learn."""
    num_with_context: int = 0
    """Rows of which not everything is learnt."""
    num_ended: int = 0
    """Rows whose end is learnt."""

    def judge(self, tokens: Tokens) -> bool:
        """Whether there is something to learn."""
        is_learnt = tokens.labels != IGNORED
        self.num_rows += 1
        self.num_learnt += bool(is_learnt.any())
        self.num_with_context += tokens.context == 1 or not is_learnt[1:].all()  # the first has no label in any case
        self.num_ended += bool(np.isin(tokens.labels, list(self.stops)).any())
        return bool(is_learnt.any())

    def require(self, *, drops: bool, learns_all: bool, ends: bool) -> None:
        """Raise DataError where training on these rows would teach nothing, all there is, or never to stop."""
        num_empty = self.num_rows - self.num_learnt
        if not self.num_learnt or (num_empty and not drops):
            raise DataError(
                f"task.max_length: {num_empty} of {self.num_rows} training rows lose their whole answer; "
                "raise it, or leave such rows out with task.drop_cut=true"
            )
        if not learns_all and not self.num_with_context:
            raise DataError("task.learn: every token of every row would be learnt; if that is meant, say everything")
        if ends and not self.num_ended:
            raise DataError(
                "task.max_length: no training row keeps the token that ends its answer, so the model would never "
                "learn to stop; raise it, or say task.template=plain where the template writes none"
            )


def columns_of(sequences: Sequence[Tokens]) -> dict[str, Any]:
    """Sequences as columns of prepared rows."""
    return {
        "input_ids": pyarrow.array([each.ids.tolist() for each in sequences], IDS),
        "target": pyarrow.array([each.labels.tolist() for each in sequences], IDS),
        "length": [len(each.ids) for each in sequences],
        "context": [each.context for each in sequences],
        "cut": [each.was_cut for each in sequences],
    }


def packed(rows: Dataset, capacity: int) -> Dataset:
    """Prepared rows, several in one where they fit; `row` holds the numbers of the rows that they are of."""
    spool, bins = Spool(), pack(rows["length"][:], capacity)
    for start in range(0, len(bins), PACKED_AT_ONCE):
        made = [_one_of(rows[numbers]) for numbers in bins[start : start + PACKED_AT_ONCE]]
        columns = {name: [row[name] for row in made] for name in made[0]}
        lists = {name: pyarrow.array(columns[name], IDS) for name in ("input_ids", "position_ids", "target", "row")}
        spool.extend({**columns, **lists})
    return spool.finish().with_format("numpy")


def _one_of(rows: dict[str, Any]) -> dict[str, Any]:
    inputs = packed_inputs(list(rows["input_ids"]))
    return {
        **{name: ids.tolist() for name, ids in inputs.items()},
        "target": np.concatenate(list(rows["target"])).tolist(),
        "length": int(rows["length"].sum()),
        "cut": bool(rows["cut"].any()),
        "row": rows["row"].tolist(),
    }
