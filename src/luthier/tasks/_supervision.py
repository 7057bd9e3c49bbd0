"""Which tokens a model learns, found by rendering a chat up to each of its turns.

For the assistant's turn i of a chat, render(turns[:i], answer follows) is what the model is given and
render(turns[:i + 1]) what comes of its answer; the difference, up to the token that ends the turn, is what it has to
write. So no template needs marks of its own. Characters become tokens by the tokenizer's offsets, for the whole text
at once: its tokens are those of use.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray
from transformers import PreTrainedTokenizerBase

from luthier.tasks import Row, _templates
from luthier.tasks._chat import Turn, answer_of, prompt_of, turns_of
from luthier.tasks._rendering import Refused, Render, rendering

Span = tuple[int, int]
"""The first character, and the one after the last."""


@dataclass(frozen=True)
class Written:
    """A text, and what of it a model has to write."""

    text: str
    answers: tuple[Span, ...]
    """Each up to the token that ends it."""
    stops: tuple[str | None, ...]
    """The token that ends each; None where no special token does."""
    context: int
    """Characters that come before the last answer, or before one that is still to be written."""

    @property
    def reference(self) -> str:
        """The words of the last answer; empty where there is none to compare with."""
        if not self.answers or self.context == len(self.text):
            return ""
        return self.text[self.context : self.answers[-1][1]].removesuffix(self.stops[-1] or "").strip()


@contextmanager
def writing(
    tokenizer: PreTrainedTokenizerBase, *, is_rendered: bool, tools: bool
) -> Iterator[Callable[[Row], Written]]:
    """What writes rows as texts; it raises Refused where the template will not have one."""
    if not is_rendered:
        yield _write_plain
        return
    template, ends = _templates.text_of(tokenizer, tools=tools), ends_of(_templates.specials(tokenizer))
    with rendering(template, tokenizer.special_tokens_map, foreign=not _templates.is_ours(template)) as render:
        yield lambda row: write_chat(turns_of(row), json.loads(row.get("tools") or "[]"), render, ends)


def _write_plain(row: Row) -> Written:
    """A plain text, all of which is to be written; or a prompt and its completion, one behind the other."""
    if "text" in row:
        return Written(row["text"], ((0, len(row["text"])),), (None,), len(row["text"]))
    prompt, answer = prompt_of(row), answer_of(row)
    if answer is None:
        return Written(prompt, (), (), len(prompt))
    return Written(prompt + answer, ((len(prompt), len(prompt + answer)),), (None,), len(prompt))


def write_chat(turns: Sequence[Turn], tools: Sequence[Any] | None, render: Render, ends: str) -> Written:
    """A chat as text; `ends` is a regular expression of the tokens that may end a turn.

    Raises Refused where the template will not have it, or hides what the assistant says.
    """
    numbers = [number for number, turn in enumerate(turns) if turn["role"] == "assistant"]
    is_answered = turns[-1]["role"] == "assistant"
    borders = (end for number in numbers for end in ((number, True), (number + 1, False)))
    whole, *parts = render(turns, tools, [(len(turns), not is_answered), *borders])
    found = []
    for number, before, after in zip(numbers, parts[::2], parts[1::2], strict=True):
        words = turns[number]["content"].strip()
        span = _difference(whole, before, after, words) or _searched(whole, before, words, ends)
        if span is None:
            raise Refused(
                f"in turn {number + 1} the template does not write what the assistant says as it is; where it drops "
                "the thinking of earlier turns, cut the chat into one row an answer"
            )
        found.append(_ended(whole, span, "" if "tool_calls" in turns[number] else words, ends))
    answers, stops = zip(*found, strict=True) if found else ((), ())
    return Written(whole, answers, stops, answers[-1][0] if is_answered else len(whole))


def ends_of(tokens: Iterable[str]) -> str:
    """A regular expression of special tokens, the longest first."""
    return "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)) or r"(?!)"


def learnt(offsets: Int[ndarray, "tokens 2"], spans: Sequence[Span]) -> Bool[ndarray, " tokens"]:
    """The tokens that hold a character of a span; one that lies across a border is in it."""
    first, last = offsets[:, 0], offsets[:, 1]
    chosen = np.zeros(len(offsets), dtype=bool)
    for start, end in spans:
        chosen |= (last > start) & (first < end)
    return chosen


def _difference(whole: str, before: str, after: str, words: str) -> Span | None:
    """What the answer adds; None where the template writes the chat another way once it goes on."""
    if not (whole.startswith(after) and after.startswith(before) and words in after[len(before) :]):
        return None
    return len(before), len(after)


def _searched(whole: str, before: str, words: str, ends: str) -> Span | None:
    """Where the words stand in the chat that went on, with the token that ends them; None where they do not."""
    pairs = enumerate(zip(whole, before, strict=False))
    shared = next((place for place, (one, other) in pairs if one != other), min(len(whole), len(before)))
    start = whole.find(words, shared)
    if not words or start < 0:
        return None
    if re.search(rf"(?:{ends})\s*\S", before[shared:]):  # what came before was written another way too
        return None
    stop = re.compile(rf"\s*(?:{ends})").match(whole, start + len(words))
    if stop is None:
        return None
    return (len(before) if shared == len(before) else start), stop.end()


def _ended(whole: str, span: Span, words: str, ends: str) -> tuple[Span, str | None]:
    """The span without what follows the token that ends it, and that token."""
    start, written = span[0], whole[slice(*span)]
    stop = words and re.search(rf"{re.escape(words)}\s*({ends})", written)
    stop = stop or re.search(rf"({ends})\s*\Z", written)  # calls of tools follow the words, or stand alone
    if not stop:
        return (start, start + len(written.rstrip())), None
    return (start, start + stop.end(1)), stop[1]
