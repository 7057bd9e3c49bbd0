"""Luthier against the Hugging Face Trainer (with PEFT for LoRA), as it comes and tuned: `python -m benchmarks.train`.

Same model, rows, epochs, batch size and learning rate; both sides tokenise before the clock starts. Every run has a
process of its own, so that peak memory is its own; sides take turns, seed by seed. Tuned means bf16, rows grouped by
length, fused AdamW, and the fastest of its attention kinds, in one batch or in four, chosen by a short run of each.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._record import Row, keep, row

LEARNING_RATES = {"full": 1e-4, "lora": 1e-3, "head": 5e-2}
BATCH_SIZE, EPOCHS, MAX_LENGTH = 32, 1, 256
SIDES = ("luthier", "tuned", "default")


def main() -> None:
    arguments = _arguments()
    if arguments.one:
        print(json.dumps(_one(json.loads(arguments.one))))
        return
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    tuning = _fastest_tuning(arguments)
    for method in arguments.methods:
        for seed in range(arguments.seeds):
            for side in _turns(seed, with_default=seed < arguments.default_seeds):
                asked = {"side": side, "method": method, "seed": seed, **tuning}
                found = _in_own_process({**asked, "rows": arguments.rows, "test_rows": arguments.test_rows})
                results.setdefault((method, side), []).append(found)
                print(method, seed, side, {key: round(value, 4) for key, value in found.items()}, flush=True)
    rows = [each for method in arguments.methods for each in _compare(method, results)]
    setting = {"rows": arguments.rows, "batch_size": BATCH_SIZE, "epochs": EPOCHS, "max_length": MAX_LENGTH}
    keep(
        arguments.name,
        rows,
        setting={**setting, "seeds": arguments.seeds, "default_seeds": arguments.default_seeds, "tuning": tuning},
    )


def _turns(seed: int, *, with_default: bool) -> list[str]:
    """The sides of a round; each round begins with another one, so that a slow spell of the machine hits all."""
    sides = [side for side in SIDES if with_default or side != "default"]
    return sides[seed % len(sides) :] + sides[: seed % len(sides)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--test-rows", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--default-seeds", type=int, default=1, help="Rounds of the Trainer as it comes: it is slow.")
    parser.add_argument("--methods", nargs="+", default=list(LEARNING_RATES))
    parser.add_argument("--name", default="train")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def _fastest_tuning(arguments: argparse.Namespace) -> dict[str, Any]:
    """The Trainer's best attention and micro-batch, by a short tuned run of each."""
    kinds = [{"attention": kind, "accumulation": n} for kind in ("eager", "sdpa") for n in (1, 4)]
    asked = {"side": "tuned", "method": "full", "seed": 0, "rows": 256, "test_rows": 8}
    seconds = [_in_own_process({**asked, **kind})["seconds"] for kind in kinds]
    for kind, value in zip(kinds, seconds, strict=True):
        print("tuned Trainer, 256 rows:", kind, f"{value:.2f} s", flush=True)
    return kinds[seconds.index(min(seconds))]


def _in_own_process(asked: dict[str, Any]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.train", "--one", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _one(asked: dict[str, Any]) -> dict[str, float]:
    """Train one side once and score it."""
    from benchmarks._bbc import MODEL, paragraphs, task_for
    from luthier.evaluation.metrics.accuracy import Accuracy
    from luthier.evaluation.predict import predict
    from luthier.evaluation.score import value
    from luthier.models.processor import load_tokenizer
    from luthier.models.source import ModelSource

    train_rows, test_rows = paragraphs(asked["rows"], asked["test_rows"], asked["seed"])
    task, processor = task_for(train_rows, MAX_LENGTH), load_tokenizer(ModelSource(name=MODEL))
    train, test = task.prepare(train_rows, processor), task.prepare(test_rows, processor)
    side: Callable[..., tuple[Any, float]] = _luthier if asked["side"] == "luthier" else _trainer
    model, seconds = side(asked, task, processor, train)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    answers = predict(model, task, test, processor, batch_size=64, precision=_precision())
    tokens = EPOCHS * int(train["length"][:].sum())
    found = {"seconds": seconds, "tokens_per_s": tokens / seconds, "peak_mib": peak / 2**20}
    found["accuracy"] = value(Accuracy(), answers, test["target"][:])
    if asked["side"] == "luthier":
        found["floor_s"] = _floor(model, task, processor, train)
    return found


def _luthier(asked: dict[str, Any], task: Any, processor: Any, rows: Any) -> tuple[Any, float]:
    from benchmarks._bbc import MODEL
    from luthier.component import Facts, find
    from luthier.models.device import choose_device
    from luthier.models.load import Ask, load_model
    from luthier.models.source import ModelSource
    from luthier.training.course import Material, course
    from luthier.training.settings import Training

    device, seed = choose_device("auto"), asked["seed"]
    kind = {"full": "full", "lora": "lora", "head": "partial"}[asked["method"]]
    method = find("methods", kind)()
    model = load_model(ModelSource(name=MODEL), Ask.of(task), device=device, seed=seed, processor=processor)
    settings = Training(
        batch_size=BATCH_SIZE, epochs=float(EPOCHS), learning_rate=LEARNING_RATES[asked["method"]], seed=seed
    )
    settings = settings.resolve(Facts(device=device))
    start = time.perf_counter()
    method.apply(model, generator=torch.Generator().manual_seed(seed))  # type: ignore[attr-defined]
    for _ in course(Material(model, processor, task, rows, None), method, settings):  # type: ignore[arg-type]
        pass
    return model, time.perf_counter() - start


def _trainer(asked: dict[str, Any], task: Any, processor: Any, rows: Any) -> tuple[Any, float]:
    from benchmarks import _trainer as peer
    from benchmarks._bbc import MODEL
    from luthier.data.places import locate
    from luthier.errors import ModelError

    tuned = asked["side"] == "tuned"
    folder = str(locate(MODEL, where="benchmark", error=ModelError))
    model = peer.build(folder, task, asked["method"], asked["attention"] if tuned else "sdpa", asked["seed"])
    rows = rows.with_format(None).rename_column("target", "labels")
    seconds = peer.train(
        model,
        rows if tuned else rows.remove_columns("length"),
        processor,
        peer.TUNED if tuned else peer.DEFAULT,
        batch_size=BATCH_SIZE,
        accumulation=asked["accumulation"] if tuned else 1,
        learning_rate=LEARNING_RATES[asked["method"]],
        epochs=EPOCHS,
        seed=asked["seed"],
    )
    return getattr(model, "base_model", model).model if asked["method"] == "lora" else model, seconds


def _floor(model: Any, task: Any, processor: Any, rows: Any) -> float:
    """Seconds that the needed FLOPs would take at the machine's own rate of matrix products."""
    numbers = list(range(0, len(rows), max(1, len(rows) // 64)))  # a sample of rows, each alone: no padding
    tokens = int(rows[numbers]["length"].sum())
    model.train()
    with FlopCounterMode(display=False) as counter:
        for number in numbers:
            loss = task.loss(model, task.collate(rows[[number]], processor).to(model.device))
            loss.total.sum().backward()
    needed = counter.get_total_flops() / tokens * int(rows["length"][:].sum()) * EPOCHS
    return needed / _matmul_rate(model.device)


def _matmul_rate(device: torch.device) -> float:
    """FLOP/s of a product of the model's size: 1,024 tokens through a feed-forward layer."""
    dtype = torch.bfloat16 if _precision() == "bf16" else torch.float32
    a = torch.randn(1024, 384, device=device).to(dtype)
    b = torch.randn(384, 1536, device=device).to(dtype)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(10):
            a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / 10)
    return 2 * 1024 * 384 * 1536 / statistics.median(times)


def _precision() -> str:
    from luthier.models.device import choose_device, choose_precision

    return choose_precision("auto", choose_device("auto"))


def _compare(method: str, results: dict[tuple[str, str], list[dict[str, Any]]]) -> list[Row]:
    def median(side: str, figure: str) -> float:
        return statistics.median(each[figure] for each in results[method, side])

    def mean_accuracy(side: str) -> float:
        return statistics.mean(each["accuracy"] for each in results[method, side])

    peer = "Trainer + PEFT" if method == "lora" else "Trainer"
    rows = []
    for side in (side for side in ("tuned", "default") if (method, side) in results):
        quality = (mean_accuracy("luthier"), mean_accuracy(side))
        for figure, unit, better in (
            ("tokens_per_s", "tokens/s", "higher"),
            ("seconds", "s", "lower"),
            ("peak_mib", "MiB", "lower"),
        ):
            ours, theirs = median("luthier", figure), median(side, figure)
            name = f"{peer}, {'tuned' if side == 'tuned' else 'as it comes'}"
            rows.append(
                row(f"{method}: {figure}", ours, theirs, peer_name=name, unit=unit, better=better, quality=quality)
            )
    floor = median("luthier", "floor_s")
    over = row(
        f"{method}: time over floor",
        median("luthier", "seconds") / floor,
        median("tuned", "seconds") / floor,
        peer_name=f"{peer}, tuned",
        unit="x",
        better="lower",
    )
    return [*rows, over]


if __name__ == "__main__":
    main()
