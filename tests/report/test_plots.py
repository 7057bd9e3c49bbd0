"""Charts are well-formed SVG that says in words what it shows."""

from xml.etree import ElementTree

import pytest

from luthier.report.plots import MOST_POINTS, Line, chart, round_ticks

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*lines: Line, title: str = "Loss") -> ElementTree.Element:
    svg = ElementTree.fromstring(chart(title, lines)).find(f"{SVG}svg")
    assert svg is not None
    return svg


def test_a_chart_is_an_image_with_a_title():
    svg = drawn(Line("training", [(1, 1.5), (2, 0.5)]), Line("validation", [(2, 0.7)]))
    assert svg.get("role") == "img"
    assert svg.findtext(f"{SVG}title") == "Loss: training from 1.500 to 0.500; validation from 0.700 to 0.700"


def test_hostile_names_stay_text():
    svg = drawn(Line("<script>", [(1, 1.5), (2, 0.5)]), title='"><img onerror=x>\x00')
    assert "script" not in {element.tag.removeprefix(SVG) for element in svg.iter()}
    assert (svg.findtext(f"{SVG}title") or "").startswith('"><img onerror=x>\ufffd: <script>')


def test_points_lie_inside_the_picture():
    svg = drawn(Line("loss", [(10, 3.0), (20, -2.0), (35, 0.001)]))
    width, height = map(float, svg.get("viewBox", "").split()[2:])
    places = [tuple(map(float, place.split(","))) for place in svg.find(f".//{SVG}polyline").get("points").split()]
    assert all(0 < x < width and 0 < y < height for x, y in places)
    assert places[0][1] < places[2][1] < places[1][1], "higher values lie further up"


def test_long_lines_are_thinned_but_keep_their_end():
    svg = drawn(Line("loss", [(step, 1 / step) for step in range(1, 10_001)]))
    places = svg.find(f".//{SVG}polyline").get("points").split()
    assert len(places) <= MOST_POINTS
    assert "to 0.000" in svg.findtext(f"{SVG}title") or "to 1e-04" in svg.findtext(f"{SVG}title")


@pytest.mark.parametrize("points", [[], [(1, 0.5)], [(1, 0.5), (2, float("nan"))]])
def test_a_line_needs_two_points(points):
    assert chart("Loss", [Line("loss", points)]) == ""


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 100, (0, 20, 40, 60, 80, 100)),
        (0.12, 0.48, (0.1, 0.2, 0.3, 0.4, 0.5)),
        (0, 2e-5, (0, 5e-6, 1e-5, 1.5e-5, 2e-5)),
        (-3, 4, (-4, -2, 0, 2, 4)),
        (0.5, 0.5, (0.5, 0.6)),
        (0, 0, (0, 0.1)),
        (0.3, 0.1 + 0.2, (0.3, 0.31)),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low: float, high: float, ticks: tuple[float, ...]):
    assert round_ticks(low, high) == ticks
