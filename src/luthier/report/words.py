"""Figures as people read them."""

import json

from luthier.evaluation.score import Score

MISSING = "—"


def number(value: float) -> str:
    """Three decimals, or three digits where that says too little."""
    return f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.3g}"


def interval(score: Score) -> str:
    """The ends of the 95 % interval."""
    return f"[{number(score.low)}, {number(score.high)}]"


def with_interval(score: Score) -> str:
    """A value with its 95 % interval."""
    return f"{number(score.value)} {interval(score)}"


def points(difference: float) -> str:
    """A difference of two scores between 0 and 1, in hundredths."""
    return f"{100 * abs(difference):.1f} points"


def percent(share: float) -> str:
    """A share; small ones keep three digits."""
    return f"{100 * share:.3g} %"


def count(whole: int) -> str:
    """A whole number in groups of three."""
    return f"{whole:,}"


def duration(seconds: float) -> str:
    """Seconds, or minutes and hours where there are some."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(num_bytes: float) -> str:
    """Bytes in MiB or GiB."""
    mebibytes = num_bytes / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"


def setting(value: object) -> str:
    """A setting as a recipe has it, on one line."""
    if isinstance(value, tuple):
        return ", ".join(map(setting, value))
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def listed(words: list[str], most: int = 5) -> str:
    """Words with commas; of many, the first."""
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more} more" if more > 0 else "")
