"""A search on the screen: a live table in a terminal, plain lines elsewhere, one for each trial that was judged."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Self, get_args

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from luthier.report.words import MISSING, duration, interval, number
from luthier.studying.plots_settings import short_names
from luthier.studying.standing import Standing, rung_of
from luthier.studying.verdict import Verdict
from luthier.studying.words import AS_IT_STANDS, part_of, told_settings, written
from luthier.trials.history import State, Trial

Record = Mapping[str, Any]
MOST_RUNNING = 8
"""Trials at work that the live table names."""


class Screen:
    """Shows the records of a search as they come."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._standing: Standing | None = None
        self._seen_at = time.monotonic()
        self._best: tuple[int, int] | None = None
        """The best trial so far, and where it was judged."""
        self._judged: list[Record] = []
        """What was judged since the search was last seen whole, which tells whether it is the best."""
        self._live = Live(console=self.console, transient=True, get_renderable=self._table, refresh_per_second=2)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, record: Record) -> None:
        """One record; kinds that have nothing for the screen are passed over."""
        shows: Mapping[str, Callable[[Record], None]] = {
            "plan": self._plan,
            "standing": self._whole,
            "judged": self._judged.append,
            "failed": self._failed,
            "worker-lost": lambda r: self._line("lost", f"a worker: {r['reason']}; another one goes on"),
            "time-over": lambda _: self._line("time", "is over: what runs is stopped"),
            "ended": lambda _: self._ended(),
            "final": self._final,
            "refused": lambda r: self._line("refused", f"{r['name']}: {r['reason']}"),
            "searched": self._conclude,
        }
        if record["event"] in shows:
            shows[record["event"]](record)

    def _plan(self, record: Record) -> None:
        self._line("search", record["told"])
        for note in record["notes"]:
            self._line("note", note)

    def _whole(self, record: Record) -> None:
        standing: Standing = record["standing"]
        self._standing, self._seen_at = standing, time.monotonic()
        best = standing.best
        now = (best.number, best.resource) if best else None
        for each in self._judged:
            rung, goals = each["rung"], standing.goals
            told = ", ".join(f"{g.name} {number(g.score(v))}" for g, v in zip(goals, rung.values, strict=True))
            place = f"trial {each['trial']} after {part_of(rung.resource, standing)}"
            is_best = now == (each["trial"], rung.resource) != self._best
            if is_best or not self.console.is_terminal:
                limits = "" if rung.is_feasible else "  (breaks a limit)"
                self._line("judged", f"{place}: {told}{'  (best so far)' if is_best else limits}")
            if is_best and best is not None:
                self._line("", told_settings(standing.space, best.values))
        self._judged.clear()
        self._best = now

    def _failed(self, record: Record) -> None:
        self._line("failed", f"trial {record['trial']}: {record.get('reason', 'the reason is not known')}")

    def _ended(self) -> None:
        self._live.stop()  # final runs have bars of their own
        if self._standing is not None:
            self.console.print()
            print_summary(self._standing, self.console)

    def _final(self, record: Record) -> None:
        self._live.stop()
        self.console.print(f"\n[bold]{record['number']} of {record['of']}[/]    {record['name']}")

    def _conclude(self, record: Record) -> None:
        self._live.stop()
        if record["verdict"] is not None:
            print_verdict(record["verdict"], self.console)
        for sentence in record["conclusions"]:
            self.console.print(f"\n{sentence}", markup=False)

    def _table(self) -> Group | Text:
        """What stays in sight while it runs."""
        if self._standing is None:
            return Text("beginning ...")
        gone = time.monotonic() - self._seen_at
        lines = [Text.assemble((f"{what:<9} ", "bold"), told) for what, told in summary(self._standing, gone)]
        running = self._standing.in_state("running")
        table = Table(*_heads(self._standing), box=None, pad_edge=False)
        for trial in running[:MOST_RUNNING]:
            table.add_row(*_row(self._standing, trial))
        return Group(*lines, table) if running else Group(*lines)

    def _line(self, what: str, told: str) -> None:
        self.console.print(f"[bold]{what:<9}[/] ", end="")
        self.console.print(told, markup=False)


def summary(standing: Standing, gone_s: float = 0.0) -> list[tuple[str, str]]:
    """Trials, best, rungs, budget and time, each in a few words; `gone_s` is how long ago the search was seen so."""
    trials, best = standing.history.trials, standing.best
    states = Counter(trial.state for trial in trials)
    told = ", ".join(f"{states[state]} {state}" for state in get_args(State) if states[state])
    reached = Counter(rung.resource for trial in trials for rung in trial.rungs)
    places = "   ".join(f"{place}/{standing.terms.horizon}: {reached[place]}" for place in sorted(reached))
    spent = f"{standing.full_runs(standing.used):.3g}"
    if standing.units is None:
        budget = f"{spent} full runs; how many fit the time is known after the first rung"
    else:
        all_runs, left = (standing.full_runs(each) for each in (standing.units, standing.units - standing.used))
        budget = f"{spent} of {all_runs:.3g} full runs, {max(0.0, left):.3g} left"
    gone = duration(standing.duration_s + gone_s)
    time_ = gone if standing.limit_s is None else f"{gone} of {duration(standing.limit_s)}"
    lines = [("trials", f"{len(trials)}: {told}"), ("best", _best(standing, best)), ("rungs", places or MISSING)]
    return [*lines, ("budget", budget), ("time", time_)]


def _best(standing: Standing, best: Trial | None) -> str:
    if best is None:
        return MISSING
    settings = AS_IT_STANDS if best.number == 0 else told_settings(standing.space, best.values)
    place, score = part_of(best.resource, standing), standing.goal.score(rung_of(best).values[0])
    return f"{standing.goal.name} {number(score)} of trial {best.number} after {place}: {settings}"


def print_summary(standing: Standing, console: Console) -> None:
    """The same as lines."""
    for what, told in summary(standing):
        console.print(f"[bold]{what:<9}[/] ", end="")
        console.print(told, markup=False)


def print_trials(standing: Standing, console: Console) -> None:
    """A table of all trials, by number."""
    table = Table(*_heads(standing), box=None, pad_edge=False)
    for trial in standing.history.trials:
        table.add_row(*_row(standing, trial))
    wide = max(console.width, 24 * len(table.columns))
    Console(file=console.file, highlight=False, width=wide).print(table)


def _heads(standing: Standing) -> list[str]:
    return ["trial", "state", "judged", *(goal.name for goal in standing.goals), *short_names(standing.space).values()]


def _row(standing: Standing, trial: Trial) -> list[str]:
    horizon, state = standing.terms.horizon, trial.state
    if state == "running":
        state = f"running to {trial.target}/{horizon}"  # type: ignore[assignment]
    values = trial.last.values if trial.last else ()
    scores = [number(goal.score(value)) for goal, value in zip(standing.goals, values, strict=False)]
    settings = [
        written(trial.values[name]) if name in trial.values else MISSING for name in short_names(standing.space)
    ]
    judged = f"{trial.resource}/{horizon}" if trial.last else MISSING
    missing = [MISSING] * (len(standing.goals) - len(scores))
    return [str(trial.number), state, judged, *scores, *missing, *settings]


def print_verdict(verdict: Verdict, console: Console) -> None:
    """Winner and default, seed by seed."""
    title = f"\n{verdict.metric} on {verdict.num_rows:,} {verdict.split} rows"
    table = Table("", "the winner", AS_IT_STANDS, title=title, title_justify="left", box=None, pad_edge=False)
    sides = [verdict.winner, *([verdict.default] if verdict.default else [])]
    for seed in sorted({seed for side in sides for seed in side.scores}):
        table.add_row(f"seed {seed}", *(number(s.scores[seed]) if seed in s.scores else MISSING for s in sides))
    means = [side.score for side in sides]
    told = [number(each.value) + (f" {interval(each)}" if each.low == each.low else "") for each in means]
    table.add_row("mean", *told)
    if verdict.difference is not None:
        score = verdict.difference.score
        table.add_row("difference", f"{number(score.value)} {interval(score)}")
    console.print(table)
