"""Answers as texts, and when two of them are the same, as SQuAD has it: Rajpurkar et al. 2016,
https://arxiv.org/abs/1606.05250; without an answer, 2018, https://arxiv.org/abs/1806.03822."""

import re
import string

ARTICLES = re.compile(r"\b(a|an|the)\b")
"""English ones."""
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """In lower case, without punctuation and English articles, single blanks between words."""
    bare = text.lower().translate(PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", bare).split())


def acceptable(reference: str | list[str]) -> list[str]:
    """The texts that are right: one, several, or of none the empty text, which stands for no answer."""
    texts = [reference] if isinstance(reference, str) else list(reference)
    return [text for text in texts if normalised(text)] or [""]
