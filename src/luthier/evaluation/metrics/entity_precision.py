"""Entity precision: right / given, over all entities of all rows. Tjong Kim Sang & De Meulder 2003,
https://aclanthology.org/W03-0419/."""

from typing import ClassVar

from luthier.evaluation.metrics._entities import EntityMetric


class EntityPrecision(EntityMetric):
    """Share of the entities given that are right."""

    given: ClassVar[float] = 1.0
