"""Mean reciprocal rank: the mean of 1 / place of the first relevant text. Voorhees 1999,
https://trec.nist.gov/pubs/trec8/papers/qa_report.pdf."""

from collections.abc import Sequence

from luthier.evaluation.metrics._places import OfPlaces


class Mrr(OfPlaces):
    """How near the top the first relevant text is: 1 is at the top, 0 nowhere."""

    def of(self, places: Sequence[int], num: int) -> float:
        return 1 / places[0] if places else 0.0
