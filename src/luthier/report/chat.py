"""A conversation in the terminal, or line by line through pipes."""

import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from luthier.chatting import Conversation
from luthier.errors import LuthierError, RecipeError, did_you_mean

PROMPT = "> "
HELP = """\
/reset         forget every turn but the system's
/system TEXT   what the system's turn says; without a text there is none
/save FILE     add the conversation to a JSONL file
/help          this list
/quit          end; so does Ctrl-D
Ctrl-C         stop an answer"""
TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows them."""


def talk(conversation: Conversation) -> None:
    """Answer until nobody asks any more."""
    if sys.stdin.isatty():
        print("Ctrl-C stops an answer, Ctrl-D ends, /help tells more.")
    for line in _lines():
        try:
            if not line.startswith("/"):
                _answer(conversation, line)
            elif not _obey(conversation, line):
                return
        except LuthierError as error:
            print(f"luthier: {error}", file=sys.stderr)


def note(text: str) -> None:
    """What a user should know, beside the answers."""
    print(f"note: {text}", file=sys.stderr)


def shown(text: str) -> str:
    """A text without what moves a terminal's cursor, changes its colours or turns its lines."""
    return "".join(c for c in text if c in "\n\t" or (unicodedata.category(c) != "Cc" and c not in TURNING))


def _lines() -> Iterator[str]:
    """What is asked, a line each; nothing is asked by an empty one."""
    while True:
        try:
            line = _typed() if sys.stdin.isatty() else sys.stdin.readline()
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            print()
            continue
        if not line:
            return
        if line.strip():
            yield line.strip()


def _typed() -> str:
    """A line of the terminal; empty at its end."""
    with suppress(ImportError):  # on Windows
        import readline  # noqa: F401 - gives input() its history
    try:
        return input(PROMPT) + "\n"
    except EOFError:
        print()
        return ""


def _answer(conversation: Conversation, text: str) -> None:
    """Ctrl-C ends the answer; what was written counts as said."""
    with suppress(KeyboardInterrupt), closing(conversation.answer(text)) as pieces:
        for piece in pieces:
            print(shown(piece), end="", flush=True)
    print(flush=True)


def _obey(conversation: Conversation, line: str) -> bool:
    """Do what a line says that begins with a slash; whether the conversation goes on."""
    word, _, rest = line.partition(" ")
    commands: dict[str, Callable[[], None]] = {
        "/reset": conversation.reset,
        "/system": lambda: conversation.say_first(rest.strip()),
        "/save": lambda: _save(conversation, rest.strip()),
        "/help": lambda: print(HELP),
        "/quit": lambda: None,
    }
    if word not in commands:
        raise RecipeError(f"chat: there is no {word}{did_you_mean(word, commands) or ' (/help)'}")
    commands[word]()
    return word != "/quit"


def _save(conversation: Conversation, name: str) -> None:
    if not name:
        raise RecipeError("chat: say where, as in /save chats.jsonl")
    conversation.save(Path(name).expanduser())
    print(f"Added to {name}")
