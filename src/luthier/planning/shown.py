"""A plan on the screen."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from luthier.planning.amounts import written
from luthier.planning.ledger import PARTS
from luthier.planning.plan import Plan

TERA = 1e12


def print_plan(made: Plan, console: Console | None = None) -> None:
    """What it takes, part by part; time; the methods; what to do."""
    console = console or Console(highlight=False, soft_wrap=True)
    of_all = f"{made.num_learnt:,} of {made.num_parameters:,} parameters learn"
    console.print(f"[bold]model[/]     {made.recipe.method.kind()}: {of_all}")
    console.print(f"[bold]room[/]      {_room(made)}")
    _print_stages(made, console)
    _print_work(made, console)
    _print_options(made, console)
    for sentence in made.advice:
        console.print(f"\n{sentence}", markup=False)


def _room(made: Plan) -> str:
    room = made.room
    if room.memory is None:
        return f"{made.device}; this system does not tell how much memory is free: say --memory 24GB"
    said = "as stated" if room.is_stated else "free now"
    shared = f", {room.num_devices} devices share weights, gradients and optimiser (an estimate)"
    return f"{made.device}, {written(room.memory)} {said}{shared if room.num_devices > 1 else ''}"


def _print_stages(made: Plan, console: Console) -> None:
    table = _table("Peak memory", *(stage.name for stage in made.stages))
    for part in PARTS:
        if any(stage.parts[part] for stage in made.stages):
            table.add_row("optimiser" if part == "optimizer" else part, *(written(s.parts[part]) for s in made.stages))
    table.add_row("[bold]all[/]", *(f"[bold]{written(stage.peak)}[/]" for stage in made.stages))
    if made.room.memory is not None:
        table.add_row("", *(_fits(made.room.holds(stage.peak)) for stage in made.stages))
    console.print(table)


def _print_work(made: Plan, console: Console) -> None:
    step = made.stages[0]
    batch = made.recipe.training.batch_size
    console.print(f"\n[bold]step[/]      {step.num_flops / TERA:,.3g} TFLOP on {step.num_tokens:,} tokens at most")
    if made.num_steps is not None:
        of_run = step.num_flops * made.num_steps / TERA
        console.print(f"[bold]run[/]       {made.num_steps:,} steps, {of_run:,.4g} TFLOP at most")
    if made.micro_batch is not None:
        most = f"{made.micro_batch} rows at once" if made.micro_batch else "not even one row at once"
        console.print(f"[bold]batch[/]     of {batch} rows {most if made.micro_batch < batch else 'all at once'} fit")
    if made.seconds is None:
        console.print("[bold]time[/]      not known: --measure takes a few real steps, --rate 400GFLOPS states a rate")
        return
    least, most_seconds = made.seconds
    span = f"{least:,.3g} s" if least == most_seconds else f"{least:,.3g} to {most_seconds:,.3g} s"
    minutes = [each * (made.num_steps or 0) / 60 for each in made.seconds]
    of_all = f", {minutes[0]:,.1f} to {minutes[1]:,.1f} min in all" if made.num_steps else ""
    console.print(f"[bold]time[/]      {span} a step{of_all}, evaluations not counted")


def _print_options(made: Plan, console: Console) -> None:
    if not made.options:
        return
    table = _table("Methods, at this recipe's micro-batch", "checkpointing", "peak", "", "settings")
    for option in made.options:
        fits = _fits(made.room.holds(option.peak)) if made.room.memory is not None else ""
        settings = escape(" ".join(option.settings))
        table.add_row(option.name, "blocks" if option.checkpointing else "", written(option.peak), fits, settings)
    console.print(table)


def _fits(holds: bool) -> str:
    return "[green]fits[/]" if holds else "[red]does not fit[/]"


def _table(title: str, *columns: str) -> Table:
    table = Table("", *columns, title=f"\n{title}", title_justify="left", box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    return table
