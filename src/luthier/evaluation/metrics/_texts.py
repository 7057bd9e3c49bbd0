"""What metrics of written text share: what an answer may say."""

from collections.abc import Sequence

from luthier.evaluation.metrics import Reference


def acceptable(reference: Reference) -> Sequence[str]:
    """The texts that are right: a reference is one, or a list of several."""
    return [reference] if isinstance(reference, str) else list(reference)
