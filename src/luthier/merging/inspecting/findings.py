"""What a look at models says of merging them, in words: only what should be known before it is done."""

from collections.abc import Sequence
from itertools import combinations
from statistics import median

from luthier.merging.inspecting.result import Inspection, Line
from luthier.report.words import listed, number, percent

FAR, TURNED = 0.5, 0.9
"""Length of a task vector against the base's weights, and cosine of both weights, beyond which a model did not start
from this base, or left it so far that sums of task vectors mean nothing."""
UNEQUAL = 10.0
"""Times as long as another task vector."""
OPPOSED = 0.6
"""Share of kept elements whose signs differ that chance, which gives a half, does not explain."""
UNRELATED, MUCH = 0.4, 0.1
"""The same where it is near chance, which small changes bear well, since they lie at right angles; and the length of a
change against the base's weights from which on they do not."""
LARGE = 0.1
"""Share of all models' squared change that makes a group of tensors one of the large ones."""
AGAINST = -0.1
"""Cosine of task vectors below which one undoes what the other did."""


def findings(inspection: Inspection) -> tuple[str, ...]:
    """Sentences; none where nothing speaks against a merge."""
    return (
        *_not_finite(inspection),
        *_left_out(inspection),
        *_unchanged(inspection),
        *_same(inspection),
        *_strangers(inspection),
        *_lengths(inspection),
        *_conflicts(inspection),
    )


def _not_finite(inspection: Inspection) -> list[str]:
    whole = inspection.whole
    return [
        f"{label} holds weights that are no finite numbers: what is merged with it would hold them too."
        for label, norm in zip(inspection.labels, whole.norms, strict=True)
        if norm != norm or norm == float("inf")
    ]


def _left_out(inspection: Inspection) -> list[str]:
    if not inspection.left_out:
        return []
    names = listed(list(inspection.left_out))
    return [f"Not looked at, as not every model has them in one shape: {names}. A merge must take them from one model."]


def _unchanged(inspection: Inspection) -> list[str]:
    return [
        f"{label} is the base itself: merging it in only weakens the others."
        for label, norm in zip(inspection.labels, inspection.whole.norms, strict=True)
        if norm == 0
    ]


def _same(inspection: Inspection) -> list[str]:
    norms, cosines = inspection.whole.norms, inspection.whole.cosines
    return [
        f"{inspection.labels[i]} and {inspection.labels[j]} are the same model: together they count twice."
        for i, j in combinations(range(len(norms)), 2)
        if norms[i] > 0 and norms[i] == norms[j] and (cosines[i][j] or 0) > 1 - 1e-6
    ]


def _strangers(inspection: Inspection) -> list[str]:
    told = []
    for number_, label in enumerate(inspection.labels):
        far = _usual([line.relative[number_] for line in inspection.roles if line.role != "norm"])
        cosine = _usual([line.cosines_with_base[number_] for line in inspection.roles if line.role != "norm"])
        if (far is not None and far > FAR) or (cosine is not None and cosine < TURNED):
            told.append(
                f"{label} does not seem to come from {inspection.base}: its weights differ by {_percent(far)} of the "
                f"base's length (cosine {_number(cosine)}). Name the base that it was tuned from, or leave it out."
            )
    return told


def _usual(values: Sequence[float | None]) -> float | None:
    """The median over roles; norms are left out, as theirs are near one in every model, and long."""
    known = [value for value in values if value is not None and value == value]
    return median(known) if known else None


def _lengths(inspection: Inspection) -> list[str]:
    found = {label: norm for label, norm in zip(inspection.labels, inspection.whole.norms, strict=True) if norm > 0}
    if len(found) < 2:
        return []
    (short, least), (long, most) = (pick(found.items(), key=lambda each: each[1]) for pick in (min, max))
    if not most > UNEQUAL * least:
        return []
    return [
        f"{long} went {most / least:.0f} times as far as {short}, which it will drown in any sum: weigh {long} down."
    ]


def _conflicts(inspection: Inspection) -> list[str]:
    told = []
    whole = inspection.whole
    for i, j in combinations(range(len(inspection.labels)), 2):
        cosine = whole.cosines[i][j]
        if cosine is not None and cosine < AGAINST:
            told.append(
                f"{inspection.labels[i]} and {inspection.labels[j]} learnt against each other (cosine "
                f"{number(cosine)}): their sum undoes what both did."
            )
    if worst := _at_odds(inspection.blocks) or _at_odds(inspection.roles):
        names = listed([f"{line.name} ({percent(line.kept_conflicts or 0)})" for line in worst])
        told.append(
            f"Where much was learnt, signs differ in a large part of what counts, {names}; chance gives a half. Expect "
            "a merge to lose there: try TIES, lower weights there, or luthier merge search."
        )
    return told


def _at_odds(lines: Sequence[Line]) -> list[Line]:
    """Groups of tensors that changed much, and whose models disagree on what counts."""
    total = sum(sum(norm**2 for norm in line.norms) for line in lines)
    large = [line for line in lines if total and sum(norm**2 for norm in line.norms) > LARGE * total]
    return [line for line in large if _disagree(line)]


def _disagree(line: Line) -> bool:
    if line.kept_conflicts is None:
        return False
    is_far = all(relative is not None and relative > MUCH for relative in line.relative)
    return line.kept_conflicts > (UNRELATED if is_far else OPPOSED)


def _percent(share: float | None) -> str:
    return "an unknown share" if share is None else percent(share)


def _number(value: float | None) -> str:
    return "unknown" if value is None else number(value)
