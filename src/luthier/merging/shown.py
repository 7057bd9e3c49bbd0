"""A merge on the screen: a bar over its bytes in a terminal, plain lines elsewhere."""

from collections.abc import Callable, Mapping

from rich.console import Console
from rich.markup import escape
from rich.progress import DownloadColumn, TransferSpeedColumn

from luthier.merging.recipes.recipe import MergeRecipe
from luthier.planning.amounts import written
from luthier.report.bar import Bar, Record


class Screen(Bar):
    """Shows the records of a merge as they come."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__("merge", DownloadColumn(), TransferSpeedColumn(), console=console)

    @property
    def shows(self) -> Mapping[str, Callable[[Record], None]]:
        return {
            "planned": self._planned,
            "begins": self._begins,
            "tensor": self._tensor,
            "merged": self._merged,
            "checked": self._checked,
        }

    def _planned(self, record: Record) -> None:
        self.progress.update(self.bar, total=record["bytes"])
        copied = record["tensors"] - record["merged"]
        apart = f", {copied} copied" if copied else ""
        self.console.print(
            f"[bold]plan[/]      {record['merged']} tensors merged{apart}; reads {written(record['read'])}, writes "
            f"{written(record['bytes'])}, holds up to {written(record['peak'])}"
        )
        self._notes(record)

    def _begins(self, record: Record) -> None:
        if record["done"]:
            self.console.print(f"[bold]resume[/]    {written(record['done'])} were merged before and are sound")
        self.progress.update(self.bar, completed=record["done"], visible=True)

    def _tensor(self, record: Record) -> None:
        self.progress.update(self.bar, advance=record["bytes"], now=record["name"])

    def _merged(self, record: Record) -> None:
        self.progress.update(self.bar, visible=False)
        self._notes(record)
        self.console.print(f"[bold]merged[/]    {record['folder']}")

    def _notes(self, record: Record) -> None:
        for note in record["notes"]:
            self.console.print(f"[bold]note[/]      {escape(note)}")

    def _checked(self, record: Record) -> None:
        ran = "it loads and answers" if record["loaded"] else f"not loaded: {record['why']}"
        self.console.print(f"[bold]checked[/]   {record['tensors']} tensors are on the disk as they were merged; {ran}")


def print_plan(recipe: MergeRecipe, facts: Record, console: Console | None = None) -> None:
    """What a merge would do."""
    console = console or Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]method[/]    {recipe.kind}" + (f", style {recipe.style}" if recipe.style != "paper" else ""))
    for model in recipe.models:
        console.print(f"[bold]{'base' if model == recipe.base else 'model':<9}[/] {model}")
    Screen(console).show({"event": "planned", **facts})
