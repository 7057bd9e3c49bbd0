"""ROUGE-Lsum: ROUGE-L sentence by sentence, for summaries of several. Lin 2004, section 3.2,
https://aclanthology.org/W04-1013.

Sentences are a text's lines; a text of one line ends a sentence after each `.`, `!` or `?` that a blank follows.
"""

from typing import ClassVar

from luthier.evaluation.metrics._rouge import RougeMetric, by_sentence


class RougeLsum(RougeMetric):
    """How much of each sentence of a reference an answer's sentences have in the same order."""

    variant: ClassVar[str] = "rougeLsum"

    def written(self, text: str) -> str:
        return by_sentence(text)
