"""What a checkpoint costs: `python -m benchmarks.checkpoint`.

400 MiB through Luthier (hashed, flushed, renamed, verified against a manifest) beside plain `safetensors` and a flush,
in turns; and the share of an epoch of recipes/demo.yaml that its checkpoint takes.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks._record import keep, row
from luthier import recipe as recipes
from luthier.pipeline import follow
from luthier.training.checkpoints import Checkpoints
from luthier.training.snapshot import _arrays

SIZE_MIB, NUM_TENSORS = 400, 99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="Where to write; else the machine's temporary folder.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        ours, theirs = _in_turns(Path(folder), arguments.rounds)
    share = _share_of_an_epoch()
    rows = [
        row("seconds of a checkpoint", ours, theirs, peer_name="safetensors and fsync", unit="s", better="lower"),
        row("share of the demo's epoch", share, 0.02, peer_name="the target", unit="share", better="lower"),
    ]
    keep("checkpoint", rows, setting={"size_mib": SIZE_MIB, "num_tensors": NUM_TENSORS, "rounds": arguments.rounds})


def _in_turns(folder: Path, rounds: int) -> tuple[float, float]:
    """Median seconds of each side, over the same tensors."""
    each = SIZE_MIB * 2**20 // NUM_TENSORS // 4
    tensors = {f"layer.{number}.weight": torch.randn(each) for number in range(NUM_TENSORS)}
    sides: list[Callable[[Path, dict[str, torch.Tensor]], None]] = [_ours, _plain]
    seconds: dict[str, list[float]] = {}
    for number in range(rounds):
        for side in sides[number % 2 :] + sides[: number % 2]:
            target = folder / f"{side.__name__}-{number}"
            start = time.perf_counter()
            side(target, tensors)
            seconds.setdefault(side.__name__, []).append(time.perf_counter() - start)
            shutil.rmtree(target)
    for name, found in seconds.items():
        print(name, [round(value, 3) for value in found])
    return statistics.median(seconds["_ours"]), statistics.median(seconds["_plain"])


def _ours(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """What is learnt and two averages of an optimiser, as a real one has."""
    names = list(tensors)
    arrays = {str(part): _arrays({name: tensors[name] for name in names[part::3]}) for part in range(3)}
    Checkpoints(folder, {"id": "benchmark"}).save(1, arrays, {})


def _plain(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    descriptor = os.open(folder / "model.safetensors", os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _share_of_an_epoch() -> float:
    """Seconds of the checkpoint over those of the epoch that it closes."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = recipes.read("recipes/demo.yaml", ["training.epochs=1", f"output={folder}/run"])
        line, records = follow(recipe), {}
        for record in line:
            records[record["event"]] = record
            if record["event"] == "trained":
                line.close()
    return float(records["checkpoint"]["duration_s"] / records["trained"]["duration_s"])


if __name__ == "__main__":
    main()
