"""Write what people look at into a run's folder: the report and the model card."""

from luthier.report.card import card
from luthier.report.page import page
from luthier.run import Run


def write_report(run: Run) -> None:
    """Write report.html and README.md."""
    (run.folder / "report.html").write_text(page(run), encoding="utf-8")
    (run.folder / "README.md").write_text(card(run), encoding="utf-8")
