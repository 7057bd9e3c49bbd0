"""A GPU: first whether every path is right, then Llamas of 1B and 8B with random weights, LoRA and full.

On a machine that has torch and transformers and reaches no registry, bring the wheels that it lacks:

    pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \\
        --platform manylinux2014_x86_64 -d .whl datasets dill==0.4.1 multiprocess==0.70.19 pydantic \\
        pydantic-core annotated-types typing-inspection ruamel.yaml liger-kernel
    python3 -m pip install -q --no-index --no-deps --target /tmp/site .whl/*.whl
    PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 PYTHONPATH=/tmp/site:src python3 -m benchmarks.gpu --minutes 9

Where all is installed, `python -m benchmarks.gpu` does. `--tiny` tries the script on any machine. Utilisation is model
FLOPs (counted by FlopCounterMode, nothing computed twice) over time, as a share of the measured rate of a large product
in bf16. Results are written after every line, to benchmarks/results and to the folder $OUT where that is set.
"""

import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks._record import RESULTS, Row, row, show, write
from benchmarks._rounds import OURS, Asked, Budget, Found, SideFailed, once, parser, tell

MODULE = "benchmarks._gpu_speed"
PEERS = {"trainer": "Trainer + PEFT", "liger": "Trainer + PEFT + Liger", "unsloth": "Unsloth"}
NEEDS = {"trainer": "peft", "liger": "liger_kernel", "unsloth": "unsloth"}
LIGHT = {
    "training": {"optimizer": "adafactor", "max_grad_norm": None, "fused_backward": True},
    "peer": {"optim": "adafactor"},
}
"""What lets all of 8B learn on one GPU: no state of AdamW."""
CASES: dict[str, Asked] = {
    "1B LoRA": {"shape": "1B", "method": "lora", "batch_size": 8, "length": 2048, "lengths": "equal", "steps": 6},
    "8B LoRA": {"shape": "8B", "method": "lora", "batch_size": 4, "length": 2048, "lengths": "equal", "steps": 4},
    "8B LoRA, chats": {
        "shape": "8B",
        "method": "lora",
        "batch_size": 16,
        "length": 2048,
        "lengths": "chats",
        "steps": 4,
    },
    "1B full": {"shape": "1B", "method": "full", "batch_size": 8, "length": 2048, "lengths": "equal", "steps": 6},
    "8B full": {
        "shape": "8B",
        "method": "full",
        "batch_size": 4,
        "length": 2048,
        "lengths": "equal",
        "steps": 3,
        **LIGHT,
    },
}
TINY: dict[str, Asked] = {
    f"tiny {method}": {"shape": "tiny", "method": method, "batch_size": 4, "length": 64, "lengths": "chats", "steps": 2}
    for method in ("lora", "full")
}


def main() -> None:
    arguments = parser(__doc__, name="gpu", rows=0, rounds=1, minutes=9)
    arguments.add_argument("--tiny", action="store_true", help="a tiny model, on any machine")
    arguments.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    arguments.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    arguments.add_argument("--skip-checks", action="store_true")
    asked = arguments.parse_args()
    import torch

    if not (torch.cuda.is_available() or asked.tiny):
        print("benchmarks.gpu: this machine has no GPU that torch can use, so nothing is measured (--tiny tries it)")
        return
    cases = TINY if asked.tiny else {name: CASES[name] for name in asked.cases}
    bench = Bench(asked.name, Budget(asked.minutes), [peer for peer in asked.peers if _is_there(peer)])
    if not asked.skip_checks:
        bench.check()
    bench.measure_machine(tiny=asked.tiny)
    for name, case in cases.items():
        bench.compare(name, case)
    show(bench.rows)


def _is_there(peer: str) -> bool:
    there = find_spec(NEEDS[peer]) is not None
    if not there:
        print(f"{PEERS[peer]}: skipped, as {NEEDS[peer]} is not installed here")
    return there


class Bench:
    """What was found so far; written after every part, as a call may be cut short."""

    def __init__(self, name: str, budget: Budget, peers: list[str]) -> None:
        import torch

        self.name, self.budget, self.peers = name, budget, peers
        self.rows: list[Row] = []
        self.more: dict[str, Any] = {"on_gpu": torch.cuda.is_available(), "checks": {}, "skipped": {}}
        self.longest_s = 30.0

    def check(self) -> None:
        """Every path's figures; a wrong one is told, and stops nothing."""
        from benchmarks._gpu_checks import checks

        for name, figures in checks():
            self.more["checks"][name] = figures
            said = "skipped" if "skipped" in figures else "right" if figures["right"] else "WRONG"
            print(f"check, {name}: {said} {figures}", flush=True)
            self._write()

    def measure_machine(self, *, tiny: bool) -> None:
        """The rate that utilisation is a share of."""
        found = self._once("the machine", {"side": "machine", "tiny": tiny})
        self.more["peak_flops_per_s"] = found["flops_per_s"] if found else None

    def compare(self, name: str, case: Asked) -> None:
        """Luthier and the peers on one case, and the memory that was predicted for it."""
        ours = self._once(f"{name}, {OURS}", {**case, "side": OURS})
        if ours is None:
            return
        for peer in self.peers:
            theirs = self._once(f"{name}, {peer}", {**case, "side": peer})
            if theirs is not None:
                self.rows += self._rows(name, PEERS[peer], ours, theirs)
                self._write()
        predicted = self._once(f"{name}, predicted", {**case, "side": "predicted"})
        if predicted is not None and self.more["on_gpu"]:  # of a CPU's process, tensors are but a part
            figures = {"peer_name": "peak that was measured", "unit": "MiB", "better": "lower"}
            self.rows.append(row(f"{name}: predicted peak", predicted["peak_mib"], ours["peak_mib"], **figures))
            self._write()

    def _rows(self, name: str, peer: str, ours: Found, theirs: Found) -> list[Row]:
        peak = self.more["peak_flops_per_s"]
        compared = [("tokens_per_s", "tokens/s", "higher"), ("peak_mib", "MiB", "lower")]
        if peak:
            compared.append(("utilisation", "share", "higher"))
            ours, theirs = ({**side, "utilisation": side["flops_per_s"] / peak} for side in (ours, theirs))
        told = {"peer_name": peer, "quality": (ours["loss"], theirs["loss"])}
        return [
            row(f"{name}: {figure}", ours[figure], theirs[figure], unit=unit, better=better, **told)
            for figure, unit, better in compared
        ]

    def _once(self, what: str, asked: Asked) -> Found | None:
        """A side's figures; None where it fails, or would not be done in time."""
        if self.budget.left_s < self.longest_s:
            self._skip(what, f"only {self.budget.left_s:.0f} s are left")
            return None
        began = time.monotonic()
        try:
            found = once(MODULE, asked, seconds=self.budget.left_s)
        except SideFailed as failure:
            self._skip(what, str(failure).strip().splitlines()[-1])
            return None
        self.longest_s = max(self.longest_s, time.monotonic() - began)
        tell(what, found)
        return found

    def _skip(self, what: str, why: str) -> None:
        print(f"{what}: skipped, {why}", flush=True)
        self.more["skipped"][what] = why
        self._write()

    def _write(self) -> None:
        for folder in (RESULTS, *([Path(os.environ["OUT"])] if os.environ.get("OUT") else [])):
            write(self.name, self.rows, folder=folder, **self.more)


if __name__ == "__main__":
    main()
