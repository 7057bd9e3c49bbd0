"""An outcome's figures in words, under the heads that screen, page and documents share."""

from luthier.comparing.outcome import Outcome
from luthier.planning.amounts import written
from luthier.report.words import MISSING, interval, number, percent, with_interval

HEAD = ("", "score [95 % interval]", "behind the best", "learnt", "", "file", "peak memory", "trained in", "steps")


def figures(each: Outcome) -> list[str]:
    """A row of the table."""
    behind = MISSING if each.behind is None else f"{number(each.behind.value)} {interval(each.behind)}"
    return [
        each.name,
        with_interval(each.score),
        behind,
        f"{each.num_trainable:,}",
        percent(each.num_trainable / each.num_parameters),
        written(each.file_bytes),
        written(each.peak_bytes),
        f"{each.duration_s:,.0f} s",
        f"{each.num_steps:,}",
    ]
