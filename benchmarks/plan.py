"""`luthier plan` against what the CPU's allocator gives out, and how long a plan takes: python -m benchmarks.plan."""

import tempfile
from pathlib import Path

from benchmarks._record import Row, keep, row
from benchmarks._rehearsed import Case, cases, measured, predicted, subject

SIZE = {"layers": 4, "width": 256, "words": 8000}
LENGTH, BATCH_SIZE = 64, 8


def compared(case: Case) -> Row:
    """One combination: the ratio is measured over predicted, and `seconds` those of the plan."""
    with tempfile.TemporaryDirectory() as folder:
        planned = subject(case, Path(folder), SIZE, length=LENGTH, batch_size=BATCH_SIZE)
        stage, seconds = predicted(planned)
        truth = measured(planned)
    told = row(str(case), stage.peak / 1e6, truth / 1e6, peer_name="measured", unit="MB", better="lower")
    return {**told, "error": stage.peak / truth - 1, "seconds": round(seconds, 2)}


def main() -> None:
    """Every combination, the worst error, and the longest plan."""
    rows = [compared(case) for case in cases()]
    worst = max(abs(each["error"]) for each in rows)
    longest = max(each["seconds"] for each in rows)
    keep("plan", rows, worst_error=worst, longest_seconds=longest, length=LENGTH, batch_size=BATCH_SIZE, size=SIZE)
    print(f"{len(rows)} combinations: worst error {worst:.2%}, longest plan {longest:.1f} s")


if __name__ == "__main__":
    main()
