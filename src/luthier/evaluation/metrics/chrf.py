"""chrF: F score, recall weighing twice, of n-grams of one to six characters. Popović 2015,
https://aclanthology.org/W15-3049. chrF++ adds words and pairs of words: 2017, https://aclanthology.org/W17-4770."""

from typing import Any, Literal

from luthier.evaluation.metrics._corpus import CorpusMetric


class Chrf(CorpusMetric):
    """How much of a reference's spelling an answer has; 0 to 100, in any script, kinder than BLEU to inflection."""

    word_order: Literal[0, 2] = 0
    """Most words of an n-gram that is counted beside characters; 2 is chrF++."""

    @property
    def name(self) -> str:
        return "chrf++" if self.word_order else "chrf"

    def scorer(self, sacrebleu: Any) -> Any:
        return sacrebleu.CHRF(word_order=self.word_order)
