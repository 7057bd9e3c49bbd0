"""What follows from a comparison, in words: which is best, which are as good, and which of those is cheapest."""

from collections.abc import Callable, Mapping, Sequence

from luthier.comparing.outcome import Outcome
from luthier.planning.amounts import written
from luthier.report.words import number, with_interval

CHEAP: Mapping[str, tuple[Callable[[Outcome], float], Callable[[Outcome], str]]] = {
    "learns the least": (lambda each: each.num_trainable, lambda each: f"{each.num_trainable:,} parameters"),
    "takes the least memory": (lambda each: each.peak_bytes, lambda each: written(each.peak_bytes)),
    "is the quickest": (lambda each: each.duration_s, lambda each: f"{each.duration_s:,.0f} s"),
}
"""What may be cheap about a method, its figure, and the figure in words."""


def conclusions(ranking: Sequence[Outcome], num_rows: int) -> list[str]:
    """Sentences for somebody who has to choose; none where nothing was compared."""
    if not ranking:
        return []
    best, *others = ranking
    told = [f"{best.name} is best: {best.metric} {with_interval(best.score)} on {num_rows:,} {best.split} rows."]
    equals = [each for each in others if each.is_as_good]
    if equals:
        told.append(f"These rows cannot tell {_listed(equals)} from it (95 % interval of the paired difference).")
        told.append(f"Of all these {_cheapest([best, *equals])}.")
    worse = [each for each in others if not each.is_as_good]
    if worse:
        behind = ", ".join(f"{each.name} by {number(abs(each.behind.value))}" for each in worse if each.behind)
        told.append(f"Behind, beyond chance: {behind}.")
    return told


def _cheapest(good: Sequence[Outcome]) -> str:
    """Who is cheapest in what; one that is so in several things is named once."""
    firsts: dict[str, list[str]] = {}
    for what, (figure, in_words) in CHEAP.items():
        first = min(good, key=figure)
        firsts.setdefault(first.name, []).append(f"{what} ({in_words(first)})")
    return "; ".join(f"{name} {', '.join(things)}" for name, things in firsts.items())


def _listed(outcomes: Sequence[Outcome]) -> str:
    names = [each.name for each in outcomes]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
