"""What follows from a curve, in words: how far it went, and what more examples would buy, or why that is not known."""

from collections.abc import Sequence

from luthier.curves.outlook import FEWEST, Forecast, Outlook
from luthier.curves.points import Point, Scale
from luthier.evaluation.score import Score
from luthier.report.words import interval, number

TIMES = {2: "Twice", 4: "Four times"}
UNEQUAL = 2
"""Times as many steps that are worth a word."""


def conclusions(points: Sequence[Point], outlook: Outlook, scale: Scale, num_rows: int) -> list[str]:
    """Sentences for somebody who asks whether to label more; none where no run came to its end."""
    if not points:
        return []
    return [_measured(points, scale, num_rows), *_beyond(points, outlook), *_steps(points)]


def _measured(points: Sequence[Point], scale: Scale, num_rows: int) -> str:
    first, last = points[0], points[-1]
    told = f"{scale.metric} is {with_interval(first.score)} with {_per_class(first.size)}"
    if len(points) > 1:
        told += f" and {with_interval(last.score)} with {last.size}"
    num_splits = len({split for point in points for split in point.scores})
    means = "one split" if num_splits == 1 else f"the mean of {num_splits} splits"
    return f"{told}, {means}, on the same {num_rows:,} test rows."


def _steps(points: Sequence[Point]) -> list[str]:
    """A warning where sizes learn for so different times that rows are not all that differs."""
    first, last = points[0], points[-1]
    if last.num_steps <= UNEQUAL * first.num_steps:
        return []
    told = (
        f"Runs with {first.size} took {first.num_steps:,.0f} steps, those with {last.size} took {last.num_steps:,.0f}"
    )
    advice = "training.steps, in place of training.epochs, gives every size as many"
    return [f"{told}, so rows are not all that differs: {advice}."]


def _beyond(points: Sequence[Point], outlook: Outlook) -> list[str]:
    few, many, gain = points[0].size, points[-1].size, outlook.gain
    gained = "" if gain is None else f" (gain {number(gain.value)} {_ends(gain)})"
    match outlook.kind:
        case "few sizes":
            sizes = "1 size draws" if len(points) == 1 else f"{len(points)} sizes draw"
            return [f"{sizes} no curve: give {FEWEST} at least (--sizes), and it says what more examples would buy."]
        case "few splits":
            return [f"What more would buy is not known: {FEWEST} splits at least tell luck from gain (--splits 5)."]
        case "falls":
            return [
                f"The score falls from {few} to {many} examples per class, beyond chance{gained}: rows are not what it "
                "lacks. Look at the settings first, as steps and learning rate."
            ]
        case "flat":
            return [
                f"The curve is flat: {_per_class(many)} are no better than {few}{gained}. More rows of this kind will "
                "hardly help; another model, another method or longer training may."
            ]
        case "noisy":
            return [
                f"Too noisy to tell: these runs cannot tell {_per_class(many)} from {few}{gained}. More splits "
                "(--splits) or more test rows make it clear."
            ]
        case "vague":
            return [
                f"It rises{gained}, but too noisily to say what more would buy: "
                f"{_forecast(outlook.forecasts[0], many)} More splits (--splits) narrow that."
            ]
        case "level":
            return [f"It has levelled off: {_forecast(outlook.forecasts[0], many)}", _condition()]
        case "rises":
            return [*(_capital(_forecast(each, many)) for each in outlook.forecasts), _condition()]


def _forecast(forecast: Forecast, largest: int) -> str:
    times, score = TIMES[forecast.size // largest], forecast.score
    told = f"{times.lower()} as many examples per class ({forecast.size}): about {number(score.value)}"
    return f"{told}, between {number(score.low)} and {number(score.high)}."


def _condition() -> str:
    return "That holds as far as the curve goes on as it did, and new rows are like those that are there."


def _per_class(size: int) -> str:
    return f"{size} example{'s' if size > 1 else ''} per class"


def with_interval(score: Score) -> str:
    """A mean with its 95 % interval; of a single split it has none."""
    return f"{number(score.value)}{_spaced(_ends(score))}"


def _ends(score: Score) -> str:
    return interval(score) if score.low == score.low else ""


def _spaced(text: str) -> str:
    return f" {text}" if text else ""


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
