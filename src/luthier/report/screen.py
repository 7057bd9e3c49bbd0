"""A run on the screen: a progress bar in a terminal, plain lines elsewhere, the scores as a table at the end."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn
from rich.table import Table

from luthier.report.bar import Bar
from luthier.run import Record, Run

Scores = Mapping[str, Mapping[str, float | None]]


class Screen(Bar):
    """Shows the records of a run as they come."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__("train", MofNCompleteColumn(), console=console)

    @property
    def shows(self) -> Mapping[str, Callable[[Record], None]]:
        return {
            "progress": self._progress,
            "data": self._data,
            "model": self._model,
            "tokens": self._tokens,
            "begins": self._begins,
            "cache": self._cache,
            "silent": self._notes,
            "settled": self._notes,
            "step": self._step,
            "evaluation": self._evaluation,
            "memory": self._memory,
            "trained": self._trained,
            "folded": self._folded,
            "self-check": self._self_check,
        }

    def conclude(self, folder: str) -> None:
        """The scores, what was saved where, and what to do next."""
        run = Run.open(folder)
        held_out = {name: scores for name, scores in run.metrics.items() if name != "train"}
        print_scores(held_out or run.metrics, self.console)
        model = run.model_folder if run.model_folder.is_dir() else run.adapter_folder
        self.console.print(f"model     {model}")
        self.console.print(f"report    {run.folder / 'report.html'}")
        self.console.print(f'next      luthier predict {run.folder} "a text of your own"')

    def _progress(self, record: Record) -> None:
        self.progress.update(self.bar, completed=record["step"], total=record["num_steps"], visible=True)

    def _data(self, record: Record) -> None:
        for note in record["notes"]:
            self._line("note", note)
        self._line("data", ", ".join(f"{count:,} {name}" for name, count in record["rows"].items()))

    def _model(self, record: Record) -> None:
        share = record["trainable"] / record["parameters"]
        self._line("model", f"{record['trainable']:,} of {record['parameters']:,} parameters learn ({share:.2%})")
        self._line(
            "settings", f"learning rate {record['learning_rate']:g}, {record['precision']} on {record['device']}"
        )

        for note in record["notes"]:
            self._line("note", note)

    def _tokens(self, record: Record) -> None:
        """Only what is worth a line: rows that lose something."""
        for split, count in record["cut"].items():
            if count:
                of_all = record["rows"][split]
                told = f"{split}: {count:,} of {of_all:,} rows ({count / of_all:.1%}) are too long and lose their end"
                self.console.print(f"tokens    {told}")

    def _begins(self, record: Record) -> None:
        self._notes(record)
        if record["step"]:
            self._line("resumed", f"from the checkpoint of step {record['step']}")

    def _cache(self, record: Record) -> None:
        for note in record["notes"]:
            self._line("cache", note)

    def _notes(self, record: Record) -> None:
        for note in record["notes"]:
            self._line("note", note)

    def _step(self, record: Record) -> None:
        memory = record["peak_bytes"] / 2**30
        loss = "no number" if record["loss"] is None else f"{record['loss']:.4f}"
        now = f"loss {loss}  {record['tokens_per_s']:,.0f} tokens/s  {memory:.1f} GiB"
        self.progress.update(self.bar, now=now)
        if not self.console.is_terminal:
            self._line(f"{record['step']}/{record['num_steps']}", f"{now}  {record['remaining_s']:,.0f} s left")

    def _evaluation(self, record: Record) -> None:
        scores = {key: value for key, value in record.items() if key not in ("event", "time", "step", "best")}
        told = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
        self._line("evaluate", f"step {record['step']}  {told}{'  (best so far)' if record['best'] else ''}")

    def _memory(self, record: Record) -> None:
        told = f"ran out in step {record['step']}: from there each micro-batch is computed in {record['parts']} parts"
        self._line("memory", f"{told}; the gradient stays the same")

    def _trained(self, record: Record) -> None:
        told = f"{record['steps']} steps, {record['tokens']:,} tokens in {record['duration_s']:,.0f} s"
        self._line("trained", f"{told}; {record['padding']:.1%} of what was computed was padding")

    def _folded(self, record: Record) -> None:
        told = f"into plain weights, in the precision in which they are held: {record['rows']} rows' answers move by"
        self._line("folded", f"{told} {record['difference']:.1g}")

    def _self_check(self, record: Record) -> None:
        self._line(
            "check", f"loaded again in a fresh process: {record['rows']} answers equal to {record['difference']:.1g}"
        )

    def _line(self, what: str, told: str) -> None:
        self.console.print(f"[bold]{what:<9}[/] ", end="")
        self.console.print(told, markup=False)


def print_scores(splits: Mapping[str, Scores], console: Console | None = None) -> None:
    """A table: a row a metric, a column a split, each value with its 95 % interval."""
    table = Table("", *splits, title="Scores [95 % interval]", title_justify="left", box=None, pad_edge=False)
    for metric in dict.fromkeys(name for scores in splits.values() for name in scores):
        table.add_row(metric, *(_interval(scores[metric]) if metric in scores else "" for scores in splits.values()))
    (console or Console(highlight=False)).print(table)


def print_runs(runs: Sequence[Run]) -> None:
    """A line a run: folder, method, its first metric on each split."""
    table = Table("run", "method", "metric", "validation", "test", "trained", box=None, pad_edge=False)
    for run in runs:
        table.add_row(*_summary(run))
    Console(highlight=False).print(table)


def _summary(run: Run) -> tuple[str, ...]:
    records: dict[str, Record] = {record["event"]: record for record in run.records}
    if "done" not in records:
        last = records.get("step") or records.get("begins") or {"step": 0}
        return (str(run.folder), "", "", "", "", f"not finished, step {last['step']}")
    splits = run.metrics
    first = next(iter(next(iter(splits.values()))))
    values = (_interval(splits[name][first]) if name in splits else "" for name in ("validation", "test"))
    duration = f"{records['trained']['duration_s']:,.0f} s"
    return (str(Path(run.folder)), run.recipe.method.kind(), first, *values, duration)


def _interval(score: Mapping[str, Any]) -> str:
    if score["value"] is None:
        return "not defined"
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
