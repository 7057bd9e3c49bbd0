"""Tags of words, and the schemes in which they mark entities.

IOB1: I-X within an entity, B-X only where one follows another of its type (Ramshaw & Marcus 1995,
https://arxiv.org/abs/cmp-lg/9505040). IOB2, also called BIO: B-X begins each (Tjong Kim Sang & Veenstra 1999,
https://arxiv.org/abs/cs/9907006). BIOES, also called BILOU: E-X ends one, S-X is one of a single word (Ratinov & Roth
2009, https://aclanthology.org/W09-1119/). Plain tags, as parts of speech, mark no entities.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from luthier.errors import DataError

Scheme = Literal["iob2", "iob1", "bioes", "plain"]
OUTSIDE = "O"
EDGE = ""
"""What stands before a row's first word, and after its last."""
MARKED = re.compile(r"([BIESLU])-(.+)", re.DOTALL)
PREFIXES = {"iob2": "BI", "iob1": "BI", "bioes": "BIESLU"}
SAME = {"L": "E", "U": "S"}
"""The letters of BILOU, in those of BIOES."""
SHOWN = 10
"""Kinds of faults that a message lists."""
AROUND = 2
"""Words before and after a fault that are shown."""


class Entity(NamedTuple):
    """Neighbouring words that are one thing."""

    type: str
    first: int
    last: int
    """Number of the last word, which belongs to it."""


def split(tag: str) -> tuple[str, str]:
    """A tag's prefix, one of B I E S O, and its type."""
    found = MARKED.fullmatch(tag)
    return (SAME.get(found[1], found[1]), found[2]) if found else (OUTSIDE, "")


def entities(tags: Sequence[str]) -> list[Entity]:
    """What the tags of any scheme mark; of illegal ones what conlleval reads, which is every word with a type."""
    found, first, before = list[Entity](), 0, split(EDGE)
    for number, tag in enumerate([*tags, EDGE]):
        now = split(tag)
        if before[1] != now[1] or now[0] in "BSO" or before[0] in "ESO":
            if before[0] != OUTSIDE:
                found.append(Entity(before[1], first, number - 1))
            first = number
        before = now
    return found


def strict_entities(tags: Sequence[str]) -> list[Entity]:
    """What IOB2 tags mark, leaving out what does not begin with B; as seqeval's strict mode."""
    return [entity for entity in entities(tags) if tags[entity.first].startswith("B-")]


def as_iob2(found: Iterable[Entity], num_words: int) -> list[str]:
    """Entities as tags of IOB2."""
    tags = [OUTSIDE] * num_words
    for entity in found:
        tags[entity.first : entity.last + 1] = [f"I-{entity.type}"] * (entity.last + 1 - entity.first)
        tags[entity.first] = f"B-{entity.type}"
    return tags


def model_tags(types: Sequence[str], scheme: str) -> tuple[str, ...]:
    """The tags that a model tells apart: plain ones as they are, else O and those of IOB2, type by type."""
    return tuple(types) if scheme == "plain" else (OUTSIDE, *(f"{prefix}-{name}" for name in types for prefix in "BI"))


def types_of(tags: Iterable[str], scheme: str) -> set[str]:
    """What is told apart: the types of entities, or the plain tags."""
    return set(tags) if scheme == "plain" else {split(tag)[1] for tag in tags} - {""}


def settled_types(tags: Iterable[str], scheme: str, asked: Sequence[str] | Literal["auto"]) -> tuple[str, ...]:
    """What is told apart, in the model's order: as asked, or all that training tags have, sorted.

    Raises DataError where something is not asked for, or there is nothing to tell apart.
    """
    found = types_of(set(tags) - {EDGE}, scheme)
    types = sorted(found, key=lambda name: (name != OUTSIDE, name)) if asked == "auto" else asked
    if more := sorted(found - set(types)):
        raise DataError(f"task.types: the training rows have {more[0]!r} too; name every one, or say auto")
    if len(model_tags(types, scheme)) < 2:
        raise DataError(f"data.train: every word has the tag {[*found, OUTSIDE][0]}; there is nothing to tell apart")
    return tuple(types)


def pairs_of(rows: Iterable[Sequence[str]]) -> Counter[tuple[str, str]]:
    """How often each tag follows each; all that a scheme's rules look at."""
    return Counter(pair for tags in rows for pair in zip([EDGE, *tags], [*tags, EDGE], strict=True))


def guess_scheme(pairs: Iterable[tuple[str, str]]) -> Scheme:
    """The scheme that tags are in; IOB2 where they are illegal in every one."""
    pairs = list(pairs)
    tags = {tag for pair in pairs for tag in pair} - {EDGE, OUTSIDE}
    if not all(map(MARKED.fullmatch, tags)) and not any(tag.startswith(("B-", "I-")) for tag in tags):
        return "plain"
    if any(tag.startswith(("E-", "S-", "L-", "U-")) for tag in tags):
        return "bioes"
    is_iob1 = any(illegal(pair, "iob2") for pair in pairs) and not any(illegal(pair, "iob1") for pair in pairs)
    return "iob1" if is_iob1 else "iob2"


def illegal(pair: tuple[str, str], scheme: str) -> bool:
    """Whether a tag may not follow another one."""
    before, now = map(split, pair)
    goes_on = before[0] in "BI" and before[1] == now[1]
    if scheme == "iob2":
        return now[0] == "I" and not goes_on
    if scheme == "iob1":
        return now[0] == "B" and not goes_on
    if scheme == "bioes":
        return not goes_on if now[0] in "IE" else before[0] in "BI"
    return False


def require_written(rows: Iterable[Sequence[str]], scheme: str, *, num_rows: int, where: str) -> None:
    """Raise DataError that counts the tags which are none of the scheme's."""
    if scheme == "plain":
        return
    unknown, num_bad = Counter[str](), 0
    for tags in rows:
        found = {tag for tag in tags if tag != OUTSIDE and not _is_of(tag, scheme)}
        unknown.update(found)
        num_bad += bool(found)
    if num_bad:
        listed = "\n".join(f"  {tag[:60]!r} in {_rows(count)}" for tag, count in unknown.most_common(SHOWN))
        letters = ", ".join(PREFIXES[scheme])
        raise DataError(
            f"{where}: {num_bad} of {num_rows} rows have tags that are none of {scheme}, which has O, and types behind "
            f"one of {letters}, as in B-PER:\n{listed}\nMend them, or say which scheme they are in: task.scheme"
        )


def require_legal(
    rows: Iterable[tuple[Sequence[str], Sequence[str]]], scheme: str, *, num_rows: int, where: str
) -> None:
    """Raise DataError that counts the illegal sequences in rows, each its words and their tags."""
    counts, examples, num_bad = Counter[tuple[str, str]](), dict[tuple[str, str], str](), 0
    for words, tags in rows:
        found = list(_faults(tags, scheme))
        counts.update({pair for _, pair in found})
        num_bad += bool(found)
        for number, pair in found:
            shown = " ".join(words[max(0, number - AROUND) : number + AROUND + 1])
            examples.setdefault(pair, shown[:80])
    if num_bad:
        told = (
            f"  {now or 'the end'} after {before or 'the beginning'} in {_rows(count)}, as in: {examples[before, now]}"
            for (before, now), count in counts.most_common(SHOWN)
        )
        more = f"\n  and {len(counts) - SHOWN} more kinds" if len(counts) > SHOWN else ""
        raise DataError(
            f"{where}: {num_bad} of {num_rows} rows have tags in an order that is illegal in {scheme}:\n"
            + "\n".join(told)
            + f"{more}\nMend them, say task.scheme, or say task.repair=true, which reads them as conlleval does"
        )


def _is_of(tag: str, scheme: str) -> bool:
    found = MARKED.fullmatch(tag)
    return found is not None and found[1] in PREFIXES[scheme]


def _faults(tags: Sequence[str], scheme: str) -> Iterator[tuple[int, tuple[str, str]]]:
    """The number of each word whose tag may not follow the one before it, and both tags."""
    for number, pair in enumerate(zip([EDGE, *tags], [*tags, EDGE], strict=True)):
        if illegal(pair, scheme):
            yield number, pair


def _rows(count: int) -> str:
    return f"{count} row{'s' if count > 1 else ''}"
