"""BLEU: the geometric mean of the shares of n-grams (one to four words) that a reference has too, times a penalty
for answers shorter than it. Papineni et al. 2002, https://aclanthology.org/P02-1040."""

from typing import Any, Literal

from luthier.evaluation.metrics._corpus import CorpusMetric


class Bleu(CorpusMetric):
    """How many phrases of an answer are a reference's; 0 to 100."""

    tokenize: Literal["13a", "intl", "zh", "char", "none"] = "13a"
    """sacrebleu's rule for what a word is; Chinese needs zh, scripts without blanks char."""
    lowercase: bool = False
    """Whether capitals are small letters."""

    @property
    def name(self) -> str:
        settings = [*(["lowercase"] if self.lowercase else []), *([self.tokenize] if self.tokenize != "13a" else [])]
        return "-".join(["bleu", *settings])

    def scorer(self, sacrebleu: Any) -> Any:
        return sacrebleu.BLEU(tokenize=self.tokenize, lowercase=self.lowercase)
