"""Looks at models before they are merged: how far each went from the base, whether they agree, by block and role."""

from collections.abc import Sequence
from dataclasses import replace

from luthier.errors import MergeError
from luthier.merging.inspecting.findings import findings
from luthier.merging.inspecting.measure import Sums, measure
from luthier.merging.inspecting.regions import Region, regions
from luthier.merging.inspecting.result import EVERY, Inspection, Line
from luthier.merging.parents.checkpoint import Checkpoint
from luthier.merging.parents.names import aligned
from luthier.merging.tensors import PART_ELEMENTS, Source, Streamed

DENSITY = 0.2
"""What TIES keeps of a task vector, by its paper."""


def inspect(
    models: Sequence[Checkpoint],
    *,
    base: Checkpoint,
    density: float = DENSITY,
    part_elements: int = PART_ELEMENTS,
) -> Inspection:
    """Read every tensor twice, in parts; -> the figures, and what they say of a merge.

    Raises MergeError where the models have no tensor in common with the base.
    """
    if not models:
        raise MergeError("inspect: no models are named; name those that are to be merged")
    if not 0 < density <= 1:
        raise MergeError(f"inspect: density is {density}; it is a share, above 0 and at most 1")
    labels = _labels(models)
    tensors, left_out = _shared(models, base, labels, part_elements)
    if not tensors:
        raise MergeError(f"inspect: {', '.join(labels)} share no tensor with {base.label}; they are of other kinds")
    where = regions([each.name for each in tensors], base.config or models[0].config)
    sums = dict(zip((each.name for each in tensors), measure(tensors, density=density), strict=True))
    seen = _gathered(sums, where)
    found = Inspection(labels, base.label, density, *seen, left_out=left_out)
    return replace(found, findings=findings(found))


def _labels(models: Sequence[Checkpoint]) -> tuple[str, ...]:
    """Names that tell the models apart."""
    labels = [model.label for model in models]
    return tuple(f"{label} ({n})" if labels.count(label) > 1 else label for n, label in enumerate(labels, 1))


def _shared(
    models: Sequence[Checkpoint], base: Checkpoint, labels: tuple[str, ...], part_elements: int
) -> tuple[list[Streamed], tuple[str, ...]]:
    """The tensors that all have in one shape, under the base's names, and the names of the rest."""
    called = [aligned(model.specs, base.specs) for model in models]
    tensors, left_out = [], list[str]()
    for name, spec in base.specs.items():
        sources = [Source(model, own[name]) for model, own in zip(models, called, strict=True) if name in own]
        is_same = len(sources) == len(models) and all(source.spec.shape == spec.shape for source in sources)
        if is_same and spec.dtype.is_floating_point and spec.num_elements:
            start = Source(base, name)
            tensors.append(Streamed(name, tuple(sources), labels, start, part_elements=part_elements, keeps=False))
        elif spec.dtype.is_floating_point and spec.num_elements:
            left_out.append(name)
    return tensors, tuple(left_out)


def _gathered(
    sums: dict[str, Sums], where: dict[str, Region]
) -> tuple[tuple[Line, ...], tuple[Line, ...], tuple[Line, ...], Line]:
    """Lines of each block and role, of blocks, of roles, and of the whole."""
    groups = dict[tuple[str, str], Sums]()
    for name, region in where.items():
        for key in ((region.block, region.role), (region.block, EVERY), (EVERY, region.role), (EVERY, EVERY)):
            groups[key] = groups[key] + sums[name] if key in groups else sums[name]
    lines = {key: Line.of(*key, each) for key, each in groups.items()}
    both = tuple(line for (block, role), line in lines.items() if EVERY not in (block, role))
    blocks = tuple(line for (block, role), line in lines.items() if block != EVERY and role == EVERY)
    roles = tuple(line for (block, role), line in lines.items() if block == EVERY and role != EVERY)
    return both, blocks, roles, lines[EVERY, EVERY]
