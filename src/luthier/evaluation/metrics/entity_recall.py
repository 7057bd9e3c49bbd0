"""Entity recall: right / true, over all entities of all rows. Tjong Kim Sang & De Meulder 2003,
https://aclanthology.org/W03-0419/."""

from typing import ClassVar

from luthier.evaluation.metrics._entities import EntityMetric


class EntityRecall(EntityMetric):
    """Share of the true entities that are found."""

    given: ClassVar[float] = 0.0
