"""The page needs nothing else, runs nothing, and shows foreign text as text."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from luthier.report.page import page
from tests.report.folder import make_run, share_right

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><b>", "a & b")
SECTIONS = ["Recipe", "Data", "Model and method", "Training", "Scores", "Findings"]
SECTIONS += ["Self-check", "Cost", "Use", "Environment"]
NUMBERS = [(float(row), row + 0.1) for row in range(50)]
ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "main", "section", "div", "h1", "h2", "h3", "p", "b", "small"),
    *("dl", "dt", "dd", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "pre", "code"),
    *("figure", "figcaption", "span", "svg", "line", "text", "g", "polyline", "circle"),
}


class Nodes(HTMLParser):
    """The elements, attributes and text of a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.texts: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def outcomes(num_labels: int) -> dict[str, list[tuple[int, int]]]:
    return {split: share_right(150, 200, num_labels=num_labels) for split in ("train", "validation", "test")}


def test_sections_stand_in_the_order_of_the_run(tmp_path: Path):
    content = page(make_run(tmp_path / "run", outcomes(2), labels=("ham", "spam")))
    assert re.findall("<h2>(.*?)</h2>", content) == SECTIONS


def test_hostile_labels_and_notes_leave_no_active_node(tmp_path: Path):
    labels = HOSTILE
    notes = [f"train: read {label} as text" for label in HOSTILE]
    run = make_run(tmp_path / '"><script>', outcomes(len(labels)), labels=labels, notes=notes, model="<img src=x>")
    nodes = Nodes(page(run))
    assert nodes.tags <= ALLOWED
    assert not {name for name, _ in nodes.attributes if name.startswith("on") or name in ("src", "href", "action")}
    assert set(labels) <= set(nodes.texts), "shown as they are"


def test_the_page_loads_nothing(tmp_path: Path):
    content = page(make_run(tmp_path / "run", outcomes(2), labels=("ham", "spam")))
    assert content.replace('xmlns="http://www.w3.org/2000/svg"', "").count("http") == 0
    assert "url(" not in content
    assert "@import" not in content


def test_the_page_quotes_no_row(tmp_path: Path):
    notes = ["train: 1 rows skipped:\n  a.csv:7: text is 'Dear Ann', which is no text"]
    content = page(make_run(tmp_path / "run", outcomes(2), labels=("ham", "spam"), notes=notes))
    assert "1 rows skipped" in content
    assert "Dear Ann" not in content


def test_confusions_are_counted_by_true_label(tmp_path: Path):
    rows = [(0, 0)] * 61 + [(0, 1)] * 17 + [(1, 1)] * 43
    nodes = Nodes(page(make_run(tmp_path / "run", {"train": rows, "test": rows}, labels=("ham", "spam"))))
    texts = nodes.texts[nodes.texts.index("Confusion") :]
    shown = [text for text in texts if text in ("61", "17", "43", "·", "ham", "spam")]
    assert shown == ["ham", "spam", "ham", "61", "17", "spam", "·", "43"]


def test_of_many_labels_the_most_confused_pairs_are_listed(tmp_path: Path):
    labels = [f"label {number}" for number in range(30)]
    nodes = Nodes(page(make_run(tmp_path / "run", outcomes(30), labels=labels)))
    assert "Confused most" in nodes.texts
    assert "Confusion" not in nodes.texts


def test_several_labels_a_row_have_no_confusion(tmp_path: Path):
    rows = [([1, 1], (0,))] * 31 + [([0, 1], (1,))] * 22
    run = make_run(tmp_path / "run", {"train": rows, "test": rows}, labels=("sport", "tech"), problem="multi-label")
    texts = Nodes(page(run)).texts
    assert "Confusion" not in texts
    assert texts[texts.index("sport") : texts.index("sport") + 2] == ["sport", "31"]
    assert texts[texts.index("tech") : texts.index("tech") + 2] == ["tech", "53"]


@pytest.mark.parametrize("splits", [("train",), ("train", "validation"), ("train", "test")])
def test_a_regression_has_scores_and_no_labels(tmp_path: Path, splits: tuple[str, ...]):
    nodes = Nodes(page(make_run(tmp_path / "run", dict.fromkeys(splits, NUMBERS))))
    assert {"spearman", "mse", *splits} <= set(nodes.texts)
    assert not {"Each label", "Confusion"} & set(nodes.texts)
