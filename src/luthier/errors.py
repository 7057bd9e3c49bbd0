"""The errors a user can meet; each says where, what was found, and what to do.

LuthierError
├── RecipeError        a recipe, an override or a command line that cannot be understood
├── DataError          a file, a column, a row or a label that cannot be used
├── ModelError         a model or a tokenizer that cannot be loaded or read
├── MethodError        a method that this model or this setting does not allow
├── MergeError         models that cannot be merged, or not so
├── TrainingError      a run that cannot go on: no memory left
│   └── NotFinite      a loss or a gradient that is no finite number
├── RunError           a run's folder that is missing, in use, incomplete or of another kind
│   └── SelfCheckError the saved model does not predict what the trained one did
└── MissingExtra       an optional part that is not installed

Mistakes of a user raise one of these and end a command with exit code 2 and no traceback.
Luthier's own invariants are plain `assert`s.
"""

import os
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class LuthierError(Exception):
    """Base of all errors that a user can mend; no message holds a secret."""

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


class RecipeError(LuthierError):
    """A recipe, an override or a command line that cannot be understood."""


class DataError(LuthierError):
    """A file, a column, a row or a label that cannot be used."""


class ModelError(LuthierError):
    """A model or a tokenizer that cannot be loaded or read."""


class MethodError(LuthierError):
    """A method that this model or this setting does not allow."""


class MergeError(LuthierError):
    """Models that cannot be merged, or not so."""


class TrainingError(LuthierError):
    """A run that cannot go on."""


class NotFinite(TrainingError):
    """A loss or a gradient that is no finite number; it knows the step, and the rows it learnt from."""

    def __init__(self, step: int, rows: Sequence[int], told: str) -> None:
        super().__init__(told)
        self.step, self.rows = step, tuple(rows)


class RunError(LuthierError):
    """A run's folder that is missing, in use, incomplete or of another kind."""


class SelfCheckError(RunError):
    """The saved model does not predict what the trained one did."""


class MissingExtra(LuthierError):
    """An optional part that is not installed; the message holds the command that installs it."""

    def __init__(self, extra: str, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs an optional part: pip install 'luthier[{extra}]'")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing where no known word is near."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


SECRET_NAMES = re.compile("TOKEN(?!IZ)|SECRET|PASSWORD|API_KEY|ACCESS_KEY")
"""What the names of environment variables hold that hold secrets."""


def redacted(text: str) -> str:
    """The text with `***` for what stands before the @ of an address, and for secrets of the environment."""
    for name, value in os.environ.items():
        if SECRET_NAMES.search(name.upper()) and len(value) >= 8:
            text = text.replace(value, "***")
    return re.sub(r"(:/{1,2})\S*@", r"\1***@", text)  # one stroke: what a path makes of an address
