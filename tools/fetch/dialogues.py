"""Conversations (chatterbot-corpus) as {train,validation,test}.jsonl: `{"messages": [{"role": ..., "content": ...}]}`.

In the topic `conversations` user and assistant take turns, and a last turn of the user is left out. In the others a
list is a question and its possible answers, of which the first is kept. What the user says first is there once, so
in one split only: of the topic `tech_support` 10 of 1,050 remain. Licence: BSD.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.fetch._chatterbot import conversations
from tools.fetch._rows import SPLITS, Row, divided, gist, write_json_lines

DIALOGUES = "conversations"
LONGEST = 20
"""Turns: a longer list is one whose marks were misplaced."""


def write(folder: Path) -> None:
    """Write the three files and say what they hold."""
    splits = divided(rows(conversations()), first_words, validation=0.1, test=0.1)
    for split in SPLITS:
        write_json_lines(folder / f"{split}.jsonl", splits[split])


def rows(found: Iterable[tuple[str, list[str]]]) -> Iterator[Row]:
    """Conversations that end with the assistant, one for each beginning."""
    begun: set[str] = set()
    for topic, turns in found:
        kept = turns[: len(turns) // 2 * 2] if topic == DIALOGUES else turns[:2]
        if len(kept) >= 2 and len(turns) <= LONGEST and all(kept) and gist(kept[0]) not in begun:
            begun.add(gist(kept[0]))
            roles = ("user", "assistant") * (len(kept) // 2)
            yield {"messages": [{"role": r, "content": c} for r, c in zip(roles, kept, strict=True)]}


def first_words(row: Row) -> str:
    """What the user says first, as far as it reads alike."""
    return gist(row["messages"][0]["content"])
