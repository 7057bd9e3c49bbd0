"""Rows whose words are tagged: as words with tags, or as a text with spans; and the words of a plain text.

Words of a text are runs of letters, marks and digits, and every other character by itself; so is each character of
the scripts that write no blanks. No model family is asked, so that a row means the same to each.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tokenizers import Regex, pre_tokenizers

from luthier.data.columns import LONGEST_FIELD, BadRow, fault_of_text, short
from luthier.tasks._tags import MARKED, OUTSIDE, Entity, as_iob2

UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
WORDS = pre_tokenizers.Split(
    Regex(rf"{UNSPACED}\p{{M}}*|(?:(?!{UNSPACED})[\p{{L}}\p{{M}}\p{{N}}_])+|\S"), behavior="removed", invert=True
)
TYPE_KEYS = ("label", "type", "entity", "entity_group")
"""What a span's type is called in files and by `transformers.pipeline`."""


@dataclass(frozen=True)
class Sentence:
    """A text and its words."""

    text: str
    words: Sequence[str]
    starts: Sequence[int]
    ends: Sequence[int]
    """Characters of the text; the end is not included."""

    @property
    def follows_blank(self) -> list[bool]:
        """Of each word, whether something that belongs to no word stands before it."""
        return [start > end for start, end in zip(self.starts, (0, *self.ends[:-1]), strict=True)]

    def place(self, first: int, last: int) -> dict[str, Any]:
        """What is written from one word to another one, and where."""
        start, end = self.starts[first], self.ends[last]
        return {"text": self.text[start:end], "start": start, "end": end}


def sentence_of(row: Mapping[str, Any]) -> Sentence:
    """The words of a row that was read; those of a list are joined by single blanks."""
    if "tokens" in row:
        words = row["tokens"]
        starts, at = [], 0
        for word in words:
            starts.append(at)
            at += len(word) + 1
        ends = [start + len(word) for start, word in zip(starts, words, strict=True)]
        return Sentence(" ".join(words), words, starts, ends)
    found = WORDS.pre_tokenize_str(row["text"])
    return Sentence(row["text"], [w for w, _ in found], [at[0] for _, at in found], [at[1] for _, at in found])


def tags_of(row: Mapping[str, Any]) -> list[str]:
    """The tags of a row that was read, as its file writes them; IOB2 where it has spans."""
    if "tags" in row:
        return list(row["tags"])
    sentence = sentence_of(row)
    numbers = {start: number for number, start in enumerate(sentence.starts)}
    lasts = {end: number for number, end in enumerate(sentence.ends)}
    spans = json.loads(row["spans"])
    found = (Entity(span["label"], numbers[span["start"]], lasts[span["end"]]) for span in spans)
    return as_iob2(found, len(sentence.words))


def read_words(row: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """Words, with their tags where it has them; tags that are numbers by their names in `labels`."""
    words = row["tokens"]
    if not isinstance(words, list) or not words:
        raise BadRow(f"tokens is {short(words)}; it must be a list of at least one text")
    for number, word in enumerate(words):
        fault = f"is {short(word)}, which is no text" if not isinstance(word, str) else _fault(word)
        if fault:
            raise BadRow(f"token {number} {fault}")
    if sum(map(len, words)) > LONGEST_FIELD:
        raise BadRow(f"tokens have {sum(map(len, words)):,} characters; a row has {LONGEST_FIELD:,} at most")
    return {"tokens": words, **({"tags": _tags(row["tags"], words, labels)} if "tags" in row else {})}


def _tags(tags: Any, words: Sequence[str], labels: Sequence[str]) -> list[str]:
    if not isinstance(tags, list):
        raise BadRow(f"tags is {short(tags)}; it must be a list with a tag for each token")
    if len(tags) != len(words):
        raise BadRow(f"has {len(tags)} tags for {len(words)} tokens")
    if all(isinstance(tag, str) for tag in tags):
        fault = next((f"tag {number} {fault}" for number, tag in enumerate(tags) if (fault := _fault(tag))), None)
        if fault:
            raise BadRow(fault)
        return tags
    if not all(isinstance(tag, int) and not isinstance(tag, bool) for tag in tags):
        raise BadRow(f"tags are {short(tags)}; they must be all text or all whole numbers")
    if not labels:
        raise BadRow("tags are numbers; name the tag of each number, in order, in task.labels")
    beyond = next((tag for tag in tags if not 0 <= tag < len(labels)), None)
    if beyond is not None:
        raise BadRow(f"has the tag {beyond}, but task.labels names those from 0 to {len(labels) - 1}")
    return [labels[tag] for tag in tags]


def read_spans(row: Mapping[str, Any]) -> dict[str, Any]:
    """A text, with its spans as JSON where it has them: trimmed, in order, each of whole words."""
    if "spans" not in row:
        return dict(row)
    text, spans = row["text"], row["spans"]
    if isinstance(spans, str):
        try:
            spans = json.loads(spans)
        except ValueError:
            raise BadRow(f"spans is {short(spans)}, which is no JSON") from None
    if not isinstance(spans, list):
        raise BadRow(f"spans is {short(spans)}; it must be a list of {{start, end, label}}")
    read = sorted((_span(span, text) for span in spans), key=lambda span: (span["start"], span["end"]))
    for one, other in pairwise(read):
        if other["start"] < one["end"]:
            raise BadRow(f"spans overlap: {_told(one, text)} and {_told(other, text)}")
    _require_whole_words(read, sentence_of({"text": text}))
    return {"text": text, "spans": json.dumps(read, ensure_ascii=False)}


def _span(span: Any, text: str) -> dict[str, Any]:
    """One span under our own names, without the blanks at its ends."""
    if isinstance(span, Mapping):
        names = [name for name in TYPE_KEYS if name in span]
        span = [span.get("start"), span.get("end"), span[names[0]] if names else None]
    if not isinstance(span, list | tuple) or len(span) != 3:
        raise BadRow(f"a span is {short(span)}; it must be {{start, end, label}} or [start, end, label]")
    start, end, label = span
    if not all(isinstance(each, int) and not isinstance(each, bool) for each in (start, end)):
        raise BadRow(f"a span goes from {short(start)} to {short(end)}; both must be whole numbers")
    if not isinstance(label, str) or _fault(label):
        raise BadRow(f"span {start}-{end} has the label {short(label)}; it must be text")
    if label == OUTSIDE or MARKED.fullmatch(label):
        raise BadRow(f"span {start}-{end} has the label {label!r}, which is a tag; a span has a type, as in PER")
    if not 0 <= start <= end <= len(text):
        raise BadRow(f"span {start}-{end} {label} lies outside the text, which has {len(text):,} characters")
    inside = text[start:end]
    if not inside.strip():
        raise BadRow(f"span {start}-{end} {label} holds no character" + (" but blanks" if inside else ""))
    start += len(inside) - len(inside.lstrip())
    return {"start": start, "end": start + len(inside.strip()), "label": label}


def _require_whole_words(spans: Sequence[Mapping[str, Any]], sentence: Sentence) -> None:
    starts, ends = set(sentence.starts), set(sentence.ends)
    for span in spans:
        if span["start"] in starts and span["end"] in ends:
            continue
        edge = span["start"] if span["start"] not in starts else span["end"]
        bounds = zip(sentence.starts, sentence.ends, strict=True)
        cut = next(sentence.text[start:end] for start, end in bounds if end >= edge)
        raise BadRow(f"span {_told(span, sentence.text)} cuts the word {short(cut)} in two")


def _told(span: Mapping[str, Any], text: str) -> str:
    return f"{span['start']}-{span['end']} {span['label']} {short(text[span['start'] : span['end']])}"


def _fault(text: str) -> str | None:
    return "is empty" if not text else fault_of_text(text)
