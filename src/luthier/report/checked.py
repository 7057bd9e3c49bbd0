"""What a recipe comes to, on the screen: rows, labels, lengths, what learns, settings, examples."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from luthier.checking import Checked

MAX_LINES = 20
"""Labels, or kinds of layers, that are listed one by one."""
LONGEST_TEXT = 300
"""Characters of an example."""


def print_checked(checked: Checked, console: Console | None = None) -> None:
    """All of it, in the order of a run."""
    console = console or Console(highlight=False, soft_wrap=True)
    for note in checked.notes:
        _line(console, "note", note)
    _line(console, "data", ", ".join(f"{count:,} {name}" for name, count in checked.rows.items()))
    _print_labels(checked, console)
    _print_lengths(checked, console)
    _print_learning(checked, console)
    _print_settings(checked.settled, checked, console)
    for number, example in enumerate(checked.examples, 1):
        target = f", {example.target}" if example.target else ""
        console.print(f"\n[bold]Example {number}[/], {example.num_tokens} tokens", end="")
        console.print(_visible(target), markup=False)
        for text, is_learnt in example.pieces:
            console.print(_visible(text), markup=False, style="green" if is_learnt else None, end="")
        console.print()
    if any(is_learnt for example in checked.examples for _, is_learnt in example.pieces):
        console.print("\n[green]Green[/] is what the loss looks at; the rest is context.")
    console.print("\nNothing is in the way of a run.")


def _print_labels(checked: Checked, console: Console) -> None:
    splits = checked.labels or checked.numbers
    if not splits:
        return
    table = _table("Labels" if checked.labels else "Targets", *splits)
    if checked.labels:
        known = list(checked.labels["train"])
        for label in known[:MAX_LINES]:
            cells = (_share(counts[label], counts, checked.rows[name]) for name, counts in checked.labels.items())
            table.add_row(escape(_visible(label)), *cells)
        if len(known) > MAX_LINES:
            table.add_row(f"and {len(known) - MAX_LINES} more")
    else:
        for number, name in enumerate(("smallest", "mean", "largest")):
            table.add_row(name, *(f"{values[number]:.4g}" for values in checked.numbers.values()))
    console.print(table)


def _print_lengths(checked: Checked, console: Console) -> None:
    limit = getattr(checked.recipe.task, "max_length", "")
    table = _table("Tokens a row", *checked.lengths)
    table.add_row("median", *(f"{each.median:,}" for each in checked.lengths.values()))
    table.add_row("95 %", *(f"{each.most:,}" for each in checked.lengths.values()))
    table.add_row("longest", *(f"{each.longest:,}" for each in checked.lengths.values()))
    if all(each.longer is not None for each in checked.lengths.values()):
        table.add_row(f"longer than {limit}", *(f"{each.longer:.1%}" for each in checked.lengths.values()))
    table.add_row("cut", *(f"{each.cut:.1%}" for each in checked.lengths.values()))
    console.print(table)


def _print_learning(checked: Checked, console: Console) -> None:
    learns = sum(checked.learning.values())
    share = f"{learns / checked.num_parameters:.2%}"
    table = _table(f"{learns:,} of {checked.num_parameters:,} parameters learn ({share})", "")
    for name, count in list(checked.learning.items())[:MAX_LINES]:
        table.add_row(name, f"{count:,}")
    if len(checked.learning) > MAX_LINES:
        table.add_row("and others", f"{sum(list(checked.learning.values())[MAX_LINES:]):,}")
    console.print(table)


def _print_settings(settled: Mapping[str, Any], checked: Checked, console: Console) -> None:
    table = _table("Settings that were open", "")
    for name, value in settled.items():
        table.add_row(name, escape(_visible(_as_yaml(value))))
    training = checked.recipe.training
    length = f"{training.steps:,} in all" if training.steps else f"{checked.steps_per_epoch:,} an epoch"
    table.add_row("steps", length)
    console.print(table)


def _as_yaml(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_as_yaml, value))
    return f"{value:g}" if isinstance(value, float) else "null" if value is None else str(value)


def _table(title: str, *splits: str) -> Table:
    shape: dict[str, Any] = {"title_justify": "left", "box": None, "pad_edge": False}
    return Table("", *splits, title=f"\n{title}", show_header=any(splits), **shape)


def _share(count: int, counts: Mapping[str, int], num_rows: int) -> str:
    """Of the rows; of all labels, where a row may have several of one."""
    of_all = num_rows if max(counts.values()) <= num_rows else sum(counts.values())
    return f"{count:,} ({count / of_all:.1%})"


def _visible(text: str) -> str:
    """At most a few lines, and no character that moves a terminal's cursor."""
    shown = text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 60]} ... {text[-60:]}"
    return "".join(mark if mark.isprintable() else " " for mark in shown)


def _line(console: Console, what: str, told: str) -> None:
    console.print(f"[bold]{what:<9}[/] ", end="")
    console.print(told, markup=False)
