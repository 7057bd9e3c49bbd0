"""Character error rate: characters to change, to add or to take away, over those that were said. Levenshtein 1966."""

from typing import Any

from luthier.evaluation.metrics._transcripts import ErrorRate


class Cer(ErrorRate):
    """How many characters are wrong, blanks included; fit for languages that write no blanks between words."""

    def compared(self, jiwer: Any, reference: str, answer: str) -> Any:
        return jiwer.process_characters(reference, answer)
