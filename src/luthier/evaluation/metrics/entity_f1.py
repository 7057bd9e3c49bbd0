"""Entity F1: 2 right / (given + true), over all entities of all rows. Tjong Kim Sang & De Meulder 2003,
https://aclanthology.org/W03-0419/."""

from typing import ClassVar

from luthier.evaluation.metrics._entities import EntityMetric


class EntityF1(EntityMetric):
    """How well entities are given and found at once."""

    given: ClassVar[float] = 0.5
