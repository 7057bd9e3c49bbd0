"""A search's page: every plot has marks that lie within it, in a real browser, wide and narrow, light and dark."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from luthier.evaluation.score import Score
from luthier.studying.importance import Importance
from luthier.studying.page import page
from luthier.studying.standing import Standing
from luthier.studying.verdict import Difference, Side, Verdict
from tests.browser import look
from tests.studying.standings import ACCURACY, SECONDS, standing, trial, whole_search

FOUND = Importance({"training.learning_rate": 0.8, "method": 0.15, "training.warmup": 0.05}, 30, 3)
VERDICT = Verdict(
    metric="accuracy",
    higher_is_better=True,
    split="test",
    num_rows=500,
    winner=Side(Score(0.91, 0.90, 0.92), {0: 0.91, 1: 0.92}, 60.0),
    default=Side(Score(0.90, 0.89, 0.91), {0: 0.90, 1: 0.90}, 60.0),
    difference=Difference(Score(0.015, 0.01, 0.02), 0.01, 2),
    refused={},
)


def written(made: Standing, verdict: Verdict | None = VERDICT, found: Importance = FOUND) -> str:
    return page("search", made, verdict, found, ["The search won."])


def heads(text: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", text)


@pytest.mark.slow
def test_in_a_browser_nothing_breaks_nothing_overflows_and_every_plot_has_marks(tmp_path: Path) -> None:
    text = written(whole_search(goals=(ACCURACY, SECONDS)))
    wide, narrow = look(text, tmp_path, widths=(1100, 380))
    (dark,) = look(text, tmp_path, dark=True)
    for seen in (wide, narrow, dark):
        assert seen.errors == []
        assert seen.wide == []
        assert seen.scrolls == 0
        assert len(seen.plots) == 5 + 5  # seeds, best so far, rungs, front, parallel; a slice for each parameter
        assert all(plot["marks"] >= 2 for plot in seen.plots)
        assert {plot["title"]: plot["out"] for plot in seen.plots if plot["out"]} == {}
    assert wide.paper != dark.paper


def test_sections_stand_in_order_and_empty_ones_are_left_out() -> None:
    everything = ["What follows", "Winner and recipe", "Course", "Front", "Settings", "Importance", "Best trials"]
    assert heads(written(whole_search(goals=(ACCURACY, SECONDS)))) == [*everything, "Failed"]
    alone = standing(trial(0, {}, [0.5]))
    assert heads(written(alone, None, Importance(reason="too few"))) == [
        "What follows",
        "Course",
        "Importance",
        "Best trials",
    ]
    assert heads(written(standing(), None, Importance(reason="too few"))) == ["What follows", "Importance"]


def test_what_a_user_wrote_stays_text() -> None:
    hostile = '"><script>alert(1)</script>'
    made = whole_search()
    text = page(hostile, standing(*made.history.trials, reasons={5: hostile, 11: hostile}), VERDICT, FOUND, [hostile])
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 5  # title twice, a sentence, two reasons


def test_the_page_loads_nothing() -> None:
    text = written(whole_search())
    assert text.replace('xmlns="http://www.w3.org/2000/svg"', "").count("http") == 0
    assert "<script" not in text


def test_every_drawing_is_well_formed_and_told_in_words() -> None:
    found = re.findall(r"<svg.*?</svg>", written(whole_search()), re.DOTALL)
    assert len(found) == 4 + 5
    for drawing in found:
        title = ElementTree.fromstring(drawing).findtext("{http://www.w3.org/2000/svg}title")
        assert title
        assert re.search(r"\d|under", title)


def test_the_best_trials_stand_first_and_a_lower_rung_never_above_a_full_run() -> None:
    made = standing(
        trial(0, {"training.learning_rate": 1e-4}, [0.1, 0.2, 0.3]),
        trial(1, {"training.learning_rate": 2e-4}, [0.9]),
        trial(2, {"training.learning_rate": 3e-4}, [0.1, 0.2, 0.4]),
        trial(3, {"training.learning_rate": 4e-4}, [0.1, 0.2, 0.5], excess=(0.5,)),
    )
    table = written(made, None).split("<h2>Best trials")[1]
    assert re.findall(r'<th scope="row">(.*?)</th>', table) == ["2", "0, the recipe", "1", "3, breaks a limit"]
