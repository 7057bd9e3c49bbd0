"""TER: words to insert, delete, replace or move until an answer is a reference, per word of it. Snover et al. 2006,
https://aclanthology.org/2006.amta-papers.25."""

from typing import Any, ClassVar

from luthier.evaluation.metrics._corpus import CorpusMetric


class Ter(CorpusMetric):
    """How much an answer would have to be edited, capitals aside; 100 is an edit for every word, there may be more."""

    higher_is_better: ClassVar[bool] = False

    def scorer(self, sacrebleu: Any) -> Any:
        return sacrebleu.TER()
