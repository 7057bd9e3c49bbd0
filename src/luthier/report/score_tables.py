"""How good a run's answers are, as tables: every metric, every label, and which labels are taken for which."""

from collections import Counter

from luthier.report.evidence import OF_LABEL, SPLITS, Evidence
from luthier.report.markup import Markup, join, table, tag
from luthier.report.words import MISSING, count, interval, number

MOST_LABELS = 20
"""A larger matrix cannot be read; then the pairs that are confused most are listed."""
MOST_UPRIGHT = 8
"""More columns than these fit only with their names on the side."""
MOST_PAIRS = 20
DEEPEST = 60
"""Per cent of colour in a cell that holds all rows of its label: the count on it stays readable."""


def scores(evidence: Evidence) -> Markup:
    """Every metric but those of single labels, a column for each split."""
    splits = [split for split in SPLITS if split in evidence.scores]
    head = ["", *(join([split, tag("small", _rows(evidence, split))]) for split in splits)]
    return table(head, [[name, *(_score(evidence, split, name) for split in splits)] for name in evidence.names])


def per_label(evidence: Evidence) -> Markup:
    """Each label's rows and F1; nothing where there are no labels or no split to judge by."""
    split = evidence.judged
    if split is None or not evidence.labels:
        return Markup("")
    supports = evidence.label_counts(split)
    rows = [
        [label, count(support), _score(evidence, split, OF_LABEL + label), _range(evidence, split, OF_LABEL + label)]
        for label, support in zip(evidence.labels, supports, strict=True)
    ]
    listed = table(["label", f"{split} rows", "F1", "0 to 1"], rows)
    if len(rows) > MOST_LABELS:
        listed = tag("details", tag("summary", f"All {len(rows)} labels"), listed)
    return join([tag("h3", "Each label"), listed])


def confusion(evidence: Evidence) -> Markup:
    """Which label is taken for which, where each row has one label."""
    split = evidence.judged
    if split is None or evidence.problem != "single-label":
        return Markup("")
    counts = Counter((line["target"], line["value"]) for line in evidence.run.predictions(split))
    labels = evidence.labels
    if len(labels) > MOST_LABELS:
        return _confused_pairs(counts, labels)
    totals = evidence.label_counts(split)
    rows = [
        [label, *(_cell(counts[true, given], totals[true], is_right=true == given) for given in range(len(labels)))]
        for true, label in enumerate(labels)
    ]
    matrix = table(["", *labels], rows, class_="matrix" if len(labels) <= MOST_UPRIGHT else "matrix many")
    told = tag("p", f"Rows are the {split} rows' own labels, columns what they were taken for.", class_="muted")
    return join([tag("h3", "Confusion"), told, matrix])


def _confused_pairs(counts: Counter[tuple[int, int]], labels: list[str]) -> Markup:
    wrong = Counter({pair: rows for pair, rows in counts.items() if pair[0] != pair[1]})
    pairs = [[labels[true], labels[given], count(rows)] for (true, given), rows in wrong.most_common(MOST_PAIRS)]
    if not pairs:
        return Markup("")
    return join([tag("h3", "Confused most"), table(["label", "taken for", "rows"], pairs)])


def _rows(evidence: Evidence, split: str) -> str:
    """How many rows a split was scored on."""
    scored = next((record["rows"] for record in evidence.all("score") if record["split"] == split), None)
    return "" if scored is None else f"{count(scored)} rows"


def _score(evidence: Evidence, split: str, name: str) -> Markup:
    score = evidence.score(split, name)
    return tag("td", MISSING) if score is None else tag("td", number(score.value), tag("small", interval(score)))


def _range(evidence: Evidence, split: str, name: str) -> Markup:
    """The interval and the value as a bar from 0 to 1; the numbers stand beside it."""
    score = evidence.score(split, name)
    if score is None:
        return tag("td")
    places = {"low": score.low, "high": score.high, "value": score.value}
    style = ";".join(f"--{place}:{100 * value:.1f}%" for place, value in places.items())
    return tag("td", tag("span", class_="range", style=style, aria_hidden="true"))


def _cell(rows: int, of_all: int, *, is_right: bool) -> Markup:
    if rows == 0:
        return tag("td", "·", class_="none", style="--share:0%")
    style = f"--share:{DEEPEST * rows / of_all:.0f}%"
    return tag("td", count(rows), class_="right" if is_right else None, style=style)
