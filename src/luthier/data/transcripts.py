"""Transcripts: what is made of them before they are learnt or compared."""

import re
import unicodedata
from typing import Literal

Normalizer = Literal["none", "basic"]
"""none: as it is written; basic: lower case, no punctuation, single blanks."""

_APOSTROPHES = str.maketrans("’ʼ＇", "'''")  # noqa: RUF001 - those that people type for one
_INSIDE = re.compile(r"(?<=\w)'(?=\w)")


def normalised(text: str, normalizer: Normalizer) -> str:
    """A transcript under a normaliser.

    basic: compatibility forms are composed (NFKC), letters are lower case, punctuation and symbols become blanks, save
    an apostrophe inside a word (`don't`), and blanks are single. Marks stay, which many scripts write vowels with.
    """
    if normalizer == "none":
        return text
    lowered = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES).lower()
    kept = {match.start() for match in _INSIDE.finditer(lowered)}
    spaced = (c if i in kept or unicodedata.category(c)[0] not in "PS" else " " for i, c in enumerate(lowered))
    return " ".join("".join(spaced).split())
