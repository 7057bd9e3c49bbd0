"""What a low-rank update holds of what it stands for, layer by layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.merging.adapters.truncate import Truncated


@dataclass(frozen=True)
class Layer:
    """One layer's update."""

    name: str
    rank: int
    kept: float
    """Sum of squares of the update."""
    total: float
    """Of what it approximates."""

    @property
    def energy(self) -> float:
        """Share of the sum of squares that is kept; 1 where there was nothing."""
        return share(self.kept, self.total)

    @classmethod
    def of(cls, name: str, found: Truncated) -> "Layer":
        return cls(name, len(found.A), found.kept, found.total)


@dataclass(frozen=True)
class Report:
    """An adapter that was written."""

    folder: Path
    how: str
    layers: tuple[Layer, ...]
    is_cut: bool = True
    """Whether a matrix was cut back to these ranks; else there is no energy to be lost."""
    num_whole: int = 0
    """Tensors that it holds as a whole: heads, norms, biases."""
    num_unchanged: int = 0
    """Tensors that need no place in it, because they are as in the base."""
    left_out: tuple[str, ...] = ()
    """Tensors that differ from the base and are not in the adapter."""
    notes: tuple[str, ...] = ()
    """What a user should know."""

    @property
    def energy(self) -> float:
        """Over all layers."""
        return share(sum(layer.kept for layer in self.layers), sum(layer.total for layer in self.layers))

    @property
    def ranks(self) -> tuple[int, int]:
        """The lowest and the highest."""
        ranks = [layer.rank for layer in self.layers]
        return min(ranks), max(ranks)

    def lines(self, *, num_layers: int = 5) -> Iterator[str]:
        """For people: the whole, the layers that keep least, and what was left out."""
        low, high = self.ranks
        ranks = f"rank {low}" if low == high else f"ranks {low} to {high}"
        energy = f", {self.energy:.2%} of the energy kept" if self.is_cut else ""
        yield f"{self.how}: {len(self.layers)} layers, {ranks}{energy}"
        for layer in sorted(self.layers, key=lambda layer: layer.energy)[:num_layers]:
            if layer.energy < 0.9999:
                yield f"  {layer.energy:7.2%}  rank {layer.rank:<4} {layer.name}"
        if self.num_whole:
            yield f"{self.num_whole} tensors are kept whole"
        if self.left_out:
            yield f"{len(self.left_out)} tensors differ and are left out: {_some(self.left_out)}"
        yield from self.notes


def share(kept: float, total: float) -> float:
    """Of a sum; 1 where the sum is 0."""
    return min(1.0, kept / total) if total else 1.0


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
