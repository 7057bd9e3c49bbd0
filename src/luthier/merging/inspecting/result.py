"""What was seen of models that are to be merged: a line of figures for each block and role, and for their sums."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from luthier import files
from luthier.merging.inspecting.measure import Sums

EVERY = "all"
"""In place of a block's or a role's name: the sum over them."""


@dataclass(frozen=True)
class Line:
    """The figures of some tensors; None stands for what has no value, as an angle where nothing changed."""

    block: str
    role: str
    num_elements: int
    norms: tuple[float, ...]
    """Length of each task vector."""
    relative: tuple[float | None, ...]
    """The same over the length of the base's weights."""
    cosines: tuple[tuple[float | None, ...], ...]
    """Between task vectors."""
    cosines_with_base: tuple[float | None, ...]
    """Between each model's weights and the base's."""
    conflicts: float | None
    """Share of the elements that two models changed where their signs differ."""
    kept_conflicts: float | None
    """The same of what each would keep."""
    trimmed: tuple[float, ...]
    """Share of the elements that trimming takes from each, where the whole task vector keeps `density`."""

    @property
    def name(self) -> str:
        """Its block, or its role, or both."""
        return " ".join(part for part in (self.block, self.role) if part != EVERY) or EVERY

    @property
    def lowest_cosine(self) -> float | None:
        """Of the pair that is furthest apart."""
        pairs = [cosine for i, row in enumerate(self.cosines) for cosine in row[i + 1 :] if cosine is not None]
        return min(pairs, default=None)

    @classmethod
    def of(cls, block: str, role: str, sums: Sums) -> "Line":
        """The figures that follow from sums."""
        norms = np.sqrt(np.clip(np.diag(sums.deltas), 0, None))
        weights, base = np.sqrt(sums.weights), math.sqrt(sums.base)
        pairs = [[_over(sums.deltas[i, j], a * b) for j, b in enumerate(norms)] for i, a in enumerate(norms)]
        return cls(
            block=block,
            role=role,
            num_elements=sums.num_elements,
            norms=tuple(float(norm) for norm in norms),
            relative=tuple(_over(norm, base) for norm in norms),
            cosines=tuple(tuple(row) for row in pairs),
            cosines_with_base=tuple(_over(dot, base * own) for dot, own in zip(sums.with_base, weights, strict=True)),
            conflicts=_over(sums.num_conflicts, sums.num_shared),
            kept_conflicts=_over(sums.num_kept_conflicts, sums.num_kept_shared),
            trimmed=tuple(float(1 - kept / max(1, sums.num_elements)) for kept in sums.num_kept),
        )


@dataclass(frozen=True)
class Inspection:
    """All of it."""

    labels: tuple[str, ...]
    base: str
    density: float
    lines: tuple[Line, ...]
    """Of each role in each block, blocks in order."""
    blocks: tuple[Line, ...]
    """Of each block, all roles together."""
    roles: tuple[Line, ...]
    """Of each role, all blocks together."""
    whole: Line
    left_out: tuple[str, ...] = ()
    """Tensors that some model lacks or has in another shape."""
    findings: tuple[str, ...] = field(default=())
    """What should be known before they are merged, in words."""

    def as_json(self) -> dict[str, Any]:
        """As JSON has it, which knows no NaN."""
        content: dict[str, Any] = files.plain(asdict(self))
        return content


def _over(value: float, by: float) -> float | None:
    return None if by == 0 else float(value / by)
