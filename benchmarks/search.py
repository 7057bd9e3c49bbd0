"""Searching settings: Luthier against Optuna + Trainer (+ PEFT), seconds to the score that 20 random runs reach.

    python -m benchmarks.search [--spaces lora last-k] [--seeds 5] [--minutes 40] [--pool 24] [--most-runs 20]

Random settings are trained in full by both trainers, a seed each. The target is the median, over the ways to draw 20 of
these settings, of the least validation loss among them, each the mean of both trainers': no side's luck sets it.
Each side then searches until a full run reaches it, or as many as 20 full runs are spent, from the same random setting
on, its runs with the round's seed; the peer with Optuna's Gaussian process over full runs, and with TPE and
HyperbandPruner, and the one that is sooner counts. Who did not reach it counts with all it spent. The parts of the gain
are measured on one sequence of jobs, with each switched off. Raw figures are kept in build/benchmarks/search and gone
on with: `--minutes` bounds this call alone, `--fresh` forgets them. CPU seconds count all threads of a side; on a
machine that others use they are the ones to compare.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks._record import keep
from benchmarks._rounds import Budget, parser, tell
from benchmarks._search_sides import Side
from benchmarks._search_task import FOLDER, SPACES, Sizes, drawn
from benchmarks._search_told import compared, parts, searched, target_of

OURS, PEERS = "luthier", ("gp", "tpe-hyperband")
NUM_LOOPS = 3
"""Settings of the pool whose steps are timed without all else."""
NUM_REPLAYS = 3
VARIANTS = ("all", "no resume", "no sharing", "no cache", "none")
Raw = dict[str, Any]


def main() -> None:
    arguments = parser(__doc__, name="search", rows=Sizes().rows_per_class, rounds=5, minutes=40)
    arguments.add_argument("--validation", type=int, default=Sizes().validation_per_class, help="rows of each class")
    arguments.add_argument("--epochs", type=int, default=Sizes().epochs)
    arguments.add_argument("--spaces", nargs="+", default=list(SPACES), choices=SPACES)
    arguments.add_argument("--pool", type=int, default=24, help="random runs, of which 20 are drawn")
    arguments.add_argument("--most-runs", type=float, default=20, help="full runs that a search may take")
    arguments.add_argument("--fresh", action="store_true", help="measure all anew")
    asked = arguments.parse_args()
    sizes = Sizes(asked.rows, asked.validation, asked.epochs)
    kept = FOLDER / f"{asked.name}-{asked.rows}-{asked.validation}-{asked.epochs}.json"
    if asked.fresh:
        kept.unlink(missing_ok=True)
    raw = measured(kept, sizes, asked, Budget(asked.minutes))
    rows = {space: [*compared(raw, space), *parts(raw, space)] for space in asked.spaces}
    setting = {**asdict(sizes), "pool": asked.pool, "most_runs": asked.most_runs}
    targets = {space: target_of(raw, space) for space in asked.spaces if rows[space]}
    if targets:
        searches = {space: searched(raw, space) for space in targets}
        told = [row for each in rows.values() for row in each]
        keep(asked.name, told, setting=setting, targets=targets, searches=searches)


def measured(kept: Path, sizes: Sizes, asked: Any, budget: Budget) -> Raw:
    """Whatever is not measured yet, as long as time is left; all figures so far."""
    raw: Raw = json.loads(kept.read_text()) if kept.is_file() else {}
    sides = {"peer": Side("benchmarks._search_peer"), OURS: Side("benchmarks._search_ours")}
    try:
        for key, side, function, what in jobs(raw, asked):
            if key in raw:
                continue
            if budget.left_s == 0:
                print("the time is over; call again to go on (--minutes)", flush=True)
                break
            raw[key] = sides[side].ask(function, {"sizes": asdict(sizes), **what()})
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(raw, indent=1))
            tell(key, {name: value for name, value in raw[key].items() if isinstance(value, float | int)})
    finally:
        for each in sides.values():
            each.close()
    return raw


Job = tuple[str, str, str, Callable[[], dict[str, Any]]]
"""Key, side, function, and what is asked."""


def jobs(raw: Raw, asked: Any) -> Iterator[Job]:
    """All that is to be measured, in this order."""
    yield from _first(raw, asked)
    for seed in range(asked.seeds):
        for space in asked.spaces:
            sides = (OURS, *PEERS)
            for side in (*sides[seed % 3 :], *sides[: seed % 3]):
                where = OURS if side == OURS else "peer"
                what = {"space": space, "side": side, "seed": seed, "most_runs": asked.most_runs}
                yield f"search/{space}/{side}/{seed}", where, "search", _with_target(raw, what)
        for space in asked.spaces if seed < NUM_REPLAYS else ():
            yield from _replays(space, seed)


def _first(raw: Raw, asked: Any) -> Iterator[Job]:
    """The pool, by both sides."""
    for kind in ("sdpa", "eager"):
        what = {"space": asked.spaces[0], "setting": drawn(asked.spaces[0], 1)[0], "seed": 0, "attention": kind}
        yield f"attention/{kind}", "peer", "pool", lambda what=what: what
    for space in asked.spaces:
        for number, setting in enumerate(drawn(space, asked.pool)):
            what = {"space": space, "setting": setting, "seed": number, "attention": attention(raw)}
            yield f"pool/{space}/{number}", "peer", "pool", lambda what=what: what
            yield f"same/{space}/{number}", OURS, "same", lambda what=what: what
            if number < NUM_LOOPS:
                yield f"loop/{space}/{number}", OURS, "loop", lambda what=what: what


def _replays(space: str, number: int) -> Iterator[Job]:
    turn = number % len(VARIANTS)
    for variant in (*VARIANTS[turn:], *VARIANTS[:turn]):
        what = {"space": space, "variant": variant}
        yield f"replay/{space}/{variant}/{number}", OURS, "replay", lambda what=what: what


def _with_target(raw: Raw, what: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    return lambda: {**what, "target": target_of(raw, what["space"]), "attention": attention(raw)}


def attention(raw: Raw) -> str:
    """The peer's faster kind."""
    return min(("sdpa", "eager"), key=lambda kind: raw[f"attention/{kind}"]["cpu_s"])


if __name__ == "__main__":
    main()
