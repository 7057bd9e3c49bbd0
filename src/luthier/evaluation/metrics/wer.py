"""Word error rate: words to change, to add or to take away, over the words that were said. Levenshtein 1966."""

from typing import Any

from luthier.evaluation.metrics._transcripts import ErrorRate


class Wer(ErrorRate):
    """How many words are wrong, of those that were said; blanks separate words."""

    def compared(self, jiwer: Any, reference: str, answer: str) -> Any:
        return jiwer.process_words(reference, answer)
