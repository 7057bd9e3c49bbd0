"""Records on the screen as they come: a progress bar in a terminal, plain lines elsewhere."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

Record = Mapping[str, Any]


class Bar(ABC):
    """One bar, and what each kind of record shows."""

    def __init__(self, what: str, *columns: ProgressColumn, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        every: tuple[str | ProgressColumn, ...] = (
            f"[bold]{what}",
            BarColumn(),
            *columns,
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}"),
        )
        self.progress = Progress(*every, console=self.console, disable=not self.console.is_terminal, transient=True)
        self.bar = self.progress.add_task(what, total=None, now="", visible=False)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    @property
    @abstractmethod
    def shows(self) -> Mapping[str, Callable[[Any], None]]:
        """What shows a record, by its event."""

    def show(self, record: Record) -> None:
        """One record; kinds that have nothing for the screen are passed over."""
        shown = self.shows.get(record["event"])
        if shown is not None:
            shown(record)
