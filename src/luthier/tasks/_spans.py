"""Answers as spans of a text: read from rows, found among tokens, chosen by a model's two scores of each."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F
from transformers import BatchEncoding

from luthier.data.columns import BadRow, short
from luthier.errors import DataError

FORMS = "a text, a list of texts, or SQuAD's text and answer_start; an empty list where there is none"
"""How answers may be written."""
Answer = tuple[str, int]
"""Its text, and the character of the context that it begins at."""


def read_answers(value: Any, context: str, start: Any = None) -> list[Answer]:
    """The acceptable answers to a question, none where it has none.

    `start` is of a layout with a column of its own for it. Raises BadRow where an answer is not in the context.
    """
    if start is not None:
        value = {"text": value, "answer_start": start}
    if isinstance(value, str):
        value = _kept(value)
    if isinstance(value, Mapping):
        value = _one_by_one(value)
    if not isinstance(value, list):
        raise BadRow(f"answers is {short(value)}; it must be {FORMS}")
    return [_found(each, context) for each in value]


def kept(answers: list[Answer]) -> str:
    """Answers as the text that a table keeps of them; `read_answers` reads it."""
    return json.dumps([{"text": text, "answer_start": start} for text, start in answers], ensure_ascii=False)


def windows_of(tokens: BatchEncoding, rows: Mapping[str, list[Any]], *, cls: int | None) -> dict[str, list[Any]]:
    """What is kept of each window beside its tokens; `target` and `acceptable` only of rows that have answers.

    text: the part of the context; starts, ends: each token's characters in the context, -1 where it is not of it;
    nowhere: the token that stands for no answer, the CLS or else the first; target: the first and the last token of
    the row's first answer, or twice the one that stands for none; acceptable: all answers, as JSON; cut: whether it
    is the first window of a row whose answer lies wholly in none. Raises DataError where a context has no tokens.
    """
    whose: list[int] = tokens["overflow_to_sample_mapping"]
    columns = _parts(tokens, rows["context"])
    columns["nowhere"] = [ids.index(cls) if cls in ids else 0 for ids in tokens["input_ids"]]
    if "answers" not in rows:
        return {**columns, "cut": [False] * len(whose)}
    answers = [read_answers(*row) for row in zip(rows["answers"], rows["context"], strict=True)]
    texts = [json.dumps([text for text, _ in each], ensure_ascii=False) for each in answers]
    windows = zip(whose, columns["starts"], columns["ends"], strict=True)
    found = [tokens_of(answers[row][0], starts, ends) if answers[row] else None for row, starts, ends in windows]
    lost = {row for row in whose if answers[row]} - {row for row, span in zip(whose, found, strict=True) if span}
    before = [-1, *whose[:-1]]
    return {
        **columns,
        "target": [span or (none, none) for span, none in zip(found, columns["nowhere"], strict=True)],
        "acceptable": [texts[row] for row in whose],
        "cut": [row in lost and row != last for row, last in zip(whose, before, strict=True)],
    }


def tokens_of(answer: Answer, starts: Int[ndarray, " seq"], ends: Int[ndarray, " seq"]) -> tuple[int, int] | None:
    """The first and the last token of an answer; None where it does not lie wholly in the window."""
    begins, finishes = answer[1], answer[1] + len(answer[0])
    touched = ((starts >= 0) & (ends > begins) & (starts < finishes)).nonzero()[0]
    if len(touched) == 0 or starts[touched[0]] > begins or ends[touched[-1]] < finishes:
        return None
    return int(touched[0]), int(touched[-1])


def best_spans(
    start: Float[Tensor, "batch seq"],
    end: Float[Tensor, "batch seq"],
    allowed: Bool[Tensor, "batch seq"],
    longest: int,
) -> tuple[Int[Tensor, " batch"], Int[Tensor, " batch"], Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Of all spans of at most `longest` allowed tokens the one with the highest sum of both scores.

    Returns its first and its last token, its score, and the logarithm of the sum of exp(score) over all spans.
    """
    start = start.masked_fill(~allowed, -torch.inf)
    end = end.masked_fill(~allowed, -torch.inf)
    ends_ahead = F.pad(end, (0, longest - 1), value=-torch.inf).unfold(1, longest, 1)
    scores = (start[:, :, None] + ends_ahead).flatten(1)
    best, number = scores.max(-1)
    first = number // longest
    return first, first + number % longest, best, scores.logsumexp(-1)


def _parts(tokens: BatchEncoding, contexts: Sequence[str]) -> dict[str, list[Any]]:
    parts: dict[str, list[Any]] = {"starts": [], "ends": [], "text": []}
    for number, whose in enumerate(tokens["overflow_to_sample_mapping"]):
        starts, ends = np.array(tokens["offset_mapping"][number], dtype=np.int32).T
        is_context = np.array([part == 1 for part in tokens.sequence_ids(number)]) & (starts < ends)
        if not is_context.any():
            raise DataError(f"data: the model's tokenizer makes no tokens of the context {contexts[whose][:80]!r}")
        parts["text"].append(contexts[whose][starts[is_context].min() : ends[is_context].max()])
        parts["starts"].append(np.where(is_context, starts, -1))
        parts["ends"].append(np.where(is_context, ends, -1))
    return parts


def _kept(value: str) -> list[Any]:
    """What `kept` made, or a single plain text."""
    try:
        found = json.loads(value) if value.startswith("[") else None
    except ValueError:
        found = None
    is_ours = isinstance(found, list) and all(isinstance(each, dict) and "text" in each for each in found)
    return found if is_ours and found is not None else [value]


def _one_by_one(value: Mapping[str, Any]) -> list[Any]:
    """SQuAD's lists of texts and starts as answers."""
    texts, starts = (
        [each] if isinstance(each, str | int) else each for each in map(value.get, ("text", "answer_start"))
    )
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise BadRow(f"answers is {short(dict(value))}; text and answer_start must be lists of one length")
    return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]


def _found(answer: Any, context: str) -> Answer:
    """An answer's text without blanks around it, and where it begins."""
    told = answer if isinstance(answer, dict) else {"text": answer}
    text, start = told.get("text"), told.get("answer_start")
    if not isinstance(text, str) or not text.strip():
        raise BadRow(f"answers: {short(text)} is no text; it must be {FORMS}")
    bare = text.strip()
    if start is None:
        if bare not in context:
            raise BadRow(f"answers: {short(bare)} occurs nowhere in the context")
        return bare, context.index(bare)
    if isinstance(start, bool) or not str(start).isdecimal():
        raise BadRow(f"answers: answer_start is {short(start)}; it must be a character's number, from 0")
    begins = int(start)
    if begins + len(text) > len(context):
        raise BadRow(f"answers: {short(text)} at {begins} ends beyond the context's {len(context)} characters")
    if (stands := context[begins : begins + len(text)]) != text:
        raise BadRow(f"answers: {short(text)} does not stand at {begins} of the context, but {short(stands)}")
    return bare, begins + text.index(bare)
