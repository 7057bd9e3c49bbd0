"""Searchers on a table of real fine-tuning, replayed with a simulated clock: no weights, no training.

    python -m benchmarks.search_table [--searchers auto+auto random+full ...] [--seeds 20] [--workers 1 4 16]
    python -m benchmarks.search_table --make 320 [--minutes 60]

The table, `results/search-table.csv`, has a configuration a row: method, its learning rate and more, and loss,
accuracy and CPU seconds at 1, 3 and 9 ninths of a full run (`_search_table_making.py` tells of the task). A searcher is
a sampler and a scheduler, `gp+asha`; `optuna-gp` and `optuna-gp+hyperband` are Optuna's. What it proposes is brought to
the nearest configuration of the same method that it has not had; the recipe as it stands comes first for all.

Regret is the best full run's loss less the table's best, when so much of the budget is spent. `--make` trains what is
missing of the table; seconds of other machines are others, so make the whole of it on one.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Screen

from benchmarks import _record
from benchmarks._record import Row
from benchmarks._search_table_replay import FRACTIONS, NEARS, Replay, ours
from benchmarks._search_table_rows import FAMILY, HORIZON, RUNGS, TABLE, Configuration, Score, Table

QUICK = (
    *("auto+auto", "random+full", "sobol+full", "tpe+full", "random+asha", "random+hyperband"),
    *("random+halving", "auto+bohb", "random+median"),
    *("optuna-random", "optuna-tpe", "optuna-random+hyperband", "optuna-tpe+hyperband"),
)
"""Those that propose in no time; `gp` takes longer, and is asked for by its name."""
OPTUNA = "optuna-"


def main() -> None:
    asked = _asked()
    if asked.make:
        from benchmarks._search_table_making import make

        print(f"{make(asked.make, minutes=asked.minutes, path=asked.table)} configurations in {asked.table}")
        return
    table, begun = Table.read(asked.table), time.monotonic()
    facts = {"setting": {"score": asked.score, "seeds": asked.seeds}, **told(table, asked.score)}
    rows = _kept(asked.name, facts)
    for searcher, num_runs, num_workers in product(asked.searchers, asked.runs, asked.workers):
        if time.monotonic() - begun > 60 * asked.minutes:
            print(f"{searcher}, {num_runs} runs, {num_workers} workers: left out (--minutes)")
            continue
        how = {"num_runs": num_runs, "num_workers": num_workers, "score": asked.score}
        rows[searcher, num_runs, num_workers] = summary(table, searcher, range(asked.seeds), **how)
        _record.write(asked.name, list(rows.values()), **facts)
    show(sorted(rows.values(), key=lambda row: (row["budget_runs"], row["workers"])))


def _asked() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--make", type=int, metavar="NUM", help="train what is missing of so many configurations")
    made.add_argument("--table", type=Path, default=TABLE)
    made.add_argument("--searchers", nargs="+", default=list(QUICK))
    made.add_argument("--runs", type=int, nargs="+", default=[10, 30], help="budgets, in full runs (10 30)")
    made.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16])
    made.add_argument("--score", choices=["loss", "error"], default="loss")
    made.add_argument("--seeds", type=int, default=20)
    made.add_argument("--minutes", type=float, default=60, help="nothing further begins after so many (60)")
    made.add_argument("--name", default="search-replay", help="of the file in benchmarks/results")
    return made.parse_args()


def _kept(name: str, facts: Row) -> dict[tuple[str, int, int], Row]:
    """The rows that are there already of the same table, score and seeds: a slow searcher may be added later."""
    path = _record.RESULTS / f"{name}.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    if any(found.get(key) != facts[key] for key in ("setting", "table")):
        return {}
    return {(row["searcher"], row["budget_runs"], row["workers"]): row for row in found["rows"]}


def replay(table: Table, searcher: str, *, num_runs: int, num_workers: int, seed: int, score: Score) -> Replay:
    """One search."""
    sampler, _, scheduler = searcher.partition("+")
    how: dict[str, Any] = {"num_runs": num_runs, "num_workers": num_workers, "seed": seed, "score": score}
    if sampler.startswith(OPTUNA):
        from benchmarks._search_table_optuna import optuna_on

        return optuna_on(table, sampler.removeprefix(OPTUNA), is_pruned=scheduler == "hyperband", **how)
    return ours(table, sampler, scheduler, **how)


def summary(table: Table, searcher: str, seeds: Sequence[int], *, num_runs: int, num_workers: int, score: Score) -> Row:
    """Medians over the seeds; a search that never came near counts as one that takes for ever."""
    how: dict[str, Any] = {"num_runs": num_runs, "num_workers": num_workers, "score": score}
    found = [replay(table, searcher, seed=seed, **how) for seed in seeds]
    return {
        "searcher": searcher,
        "budget_runs": num_runs,
        "workers": num_workers,
        "regrets": [
            round(statistics.median(each.regrets[place] for each in found), 5) for place in range(len(FRACTIONS))
        ],
        "mean_regrets": [
            round(statistics.fmean(each.regrets[place] for each in found), 5) for place in range(len(FRACTIONS))
        ],
        "seconds_to": [_middle([each.seconds_to[place] for each in found]) for place in range(len(NEARS))],
        "share_near": [
            sum(each.seconds_to[place] is not None for each in found) / len(found) for place in range(len(NEARS))
        ],
        "trials": statistics.median(each.num_trials for each in found),
        "seconds": round(statistics.median(each.seconds for each in found), 1),
    }


def _middle(seconds: Sequence[float | None]) -> float | None:
    """The lower median, where None is for ever; None: half of them and more are."""
    order = sorted(float("inf") if each is None else each for each in seconds)
    found = order[(len(order) - 1) // 2]
    return round(found, 1) if found < float("inf") else None


def told(table: Table, score: Score) -> Row:
    """What the table itself is like, and how far a short look tells the end."""
    whole = [row for row in table.rows if row.scored(HORIZON, score) is not None]
    ends = _scores(whole, HORIZON, score)
    best = _first(ends, len(whole) // 10)
    kept = {}
    for units in RUNGS[:-1]:
        kept[units] = round(len(best & _first(_scores(whole, units, score), len(whole) // 3)) / len(best), 3)
    return {
        "table": {
            "configurations": len(table.rows),
            "failed": len(table.rows) - len(whole),
            "best": min(ends),
            "median": statistics.median(ends),
            "standing": table.rows[0].scored(HORIZON, score),
            "near": [sum(end <= near * min(ends) for end in ends) for near in NEARS],
            "cpu_seconds": round(sum(max(row.seconds.values()) for row in table.rows), 1),
        },
        "rank_correlation_with_the_end": _correlations(whole, score),
        "best_tenth_within_best_third": kept,
        "methods": [_of_method(label, whole, score) for label in table.labels],
    }


def _of_method(label: str, whole: Sequence[Configuration], score: Score) -> Row:
    """A method's best full run, what its runs took, and how far short looks tell their ends."""
    own = [row for row in whole if row.values[FAMILY] == label]
    first = min(own, key=lambda row: row.scored(HORIZON, score) or 0.0)
    return {
        "method": label,
        "best": first.scored(HORIZON, score),
        "accuracy_of_best": first.accuracy[HORIZON],
        "cpu_seconds": round(statistics.fmean(row.seconds[HORIZON] for row in own), 2),
        "rank_correlation_with_the_end": _correlations(own, score),
    }


def _correlations(rows: Sequence[Configuration], score: Score) -> dict[int, float]:
    """Spearman's, of each rung's scores with those of the end."""
    from scipy.stats import spearmanr

    ends = _scores(rows, HORIZON, score)
    return {units: round(float(spearmanr(_scores(rows, units, score), ends).statistic), 3) for units in RUNGS[:-1]}


def _scores(rows: Sequence[Configuration], units: int, score: Score) -> list[float]:
    return [found for row in rows if (found := row.scored(units, score)) is not None]


def _first(scores: Sequence[float], num: int) -> set[int]:
    """Places of the lowest."""
    return set(sorted(range(len(scores)), key=scores.__getitem__)[:num])


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    shares = [f"{fraction:.0%}" for fraction in FRACTIONS]
    words = [f"{what} to {near - 1:.0%}" for near in NEARS for what in ("s", "share")]
    screen = Screen("searcher", "runs", "workers", *shares, *words, "trials", box=None, pad_edge=False)
    for row in rows:
        regrets = [f"{regret:.4f}" for regret in row["regrets"]]
        nears = [
            word
            for seconds, share in zip(row["seconds_to"], row["share_near"], strict=True)
            for word in ("-" if seconds is None else f"{seconds:,.0f}", f"{share:.0%}")
        ]
        screen.add_row(
            row["searcher"], str(row["budget_runs"]), str(row["workers"]), *regrets, *nears, f"{row['trials']:g}"
        )
    Console(width=140).print(screen)


if __name__ == "__main__":
    main()
