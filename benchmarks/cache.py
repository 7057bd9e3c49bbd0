"""The cache of the frozen prefix: seconds of an epoch from the second on, without it and with it.

    python -m benchmarks.cache [--rows 64] [--seeds 2] [--cases head last-1 lora-last-4 frozen-encoder] [--minutes 10]

Needs `make models data`. Both sides are Luthier, with `training.cache` off and on; the first epoch fills the cache and
is told beside. Quality is the loss on held-out rows after the last epoch.
"""

from dataclasses import dataclass
from statistics import median as middle
from typing import Any

from benchmarks._record import Row, keep, row
from benchmarks._rounds import Asked, Budget, Found, Results, alternate, median, parser
from luthier.methods import Method
from luthier.methods.lora import Lora
from luthier.methods.partial import Partial

MODULE = "benchmarks.cache"
EPOCHS = 3


@dataclass(frozen=True)
class Case:
    """What is learnt, and how many times faster an epoch is to be."""

    what: str
    method: Method
    target: float
    row_share: int
    """Rows for each one that is asked for: small models take more."""
    batch_size: int


CASES = {
    "head": Case("MiniLM, the head alone", Partial(train=("head",)), 10.0, 8, 32),
    "last-1": Case("MiniLM, the last block and the head", Partial(train=("last-1", "head")), 2.0, 8, 32),
    "lora-last-4": Case("SmolLM2, LoRA on 4 of 30 blocks", Lora(targets=("last-4",)), 1.8, 1, 16),
    "frozen-encoder": Case("Whisper tiny, the decoder", Partial(train=("decoder",)), 3.0, 1, 16),
}
SIDES = ("off", "memory", "disk")


def main() -> None:
    arguments = parser(__doc__, name="cache", rows=64, rounds=2, minutes=10)
    arguments.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    arguments.add_argument("--kinds", nargs="+", default=["memory"], choices=SIDES[1:], help="where the cache is held")
    asked = arguments.parse_args()
    cases = {
        case: {side: {"case": case, "cache": side, "rows": asked.rows} for side in ("off", *asked.kinds)}
        for case in asked.cases
    }
    results = alternate(MODULE, cases, rounds=asked.seeds, budget=Budget(asked.minutes))
    rows = [compared(case, kind, results) for case in asked.cases for kind in asked.kinds]
    keep(asked.name, rows, setting={"rows": asked.rows, "epochs": EPOCHS})
    for each in rows:
        verdict = "reached" if each["ratio"] >= each["target"] else "missed"
        print(f"{each['what']}: {each['ratio']:.2f}x, target {each['target']}x {verdict}")


def compared(case: str, kind: str, results: Results) -> Row:
    """An epoch from the second on, cached against not."""

    def of(side: str, figure: str) -> float:
        return median(results, case, side, figure)

    made = row(
        f"{CASES[case].what}: an epoch from the second on",
        of(kind, "later_epoch_s"),
        of("off", "later_epoch_s"),
        peer_name=f"no cache ({kind})",
        unit="s",
        better="lower",
        quality=(of(kind, "loss"), of("off", "loss")),
    )
    first = {"first_epoch_s": of(kind, "first_epoch_s"), "first_epoch_s_peer": of("off", "first_epoch_s")}
    return {**made, **first, "target": CASES[case].target}


def one(asked: Asked) -> Found:
    """Train a few epochs, with the cache or without."""
    from benchmarks._ours import build, held_out_loss, learn

    case = CASES[asked["case"]]
    work = _work(asked["case"], asked["rows"] * case.row_share, asked["seed"])
    pace = {"batch_size": case.batch_size, "epochs": float(EPOCHS), "learning_rate": 1e-4, "seed": asked["seed"]}
    built = build(work, case.method, cache=asked["cache"], **pace)
    took = learn(built, work.train)
    loss = held_out_loss(built.model, work)
    later = middle(took.epochs_s[1:])
    seconds = {"first_epoch_s": took.epochs_s[0], "later_epoch_s": later}
    return {**seconds, "loss": loss, "last_loss": took.losses[-1], "replayed": took.num_replayed}


def _work(case: str, num_rows: int, seed: int) -> Any:
    from benchmarks import _bbc, _work

    if case in ("head", "last-1"):
        return _bbc.work(num_rows, num_warm=0, num_held_out=64, seed=seed)
    rows = {"lora-last-4": _work.chats, "frozen-encoder": _work.clips}[case]
    return rows(num_rows, num_warm=0, num_held_out=32, seed=seed)


if __name__ == "__main__":
    main()
