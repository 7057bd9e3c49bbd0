"""The peer of the search's benchmark: Optuna over the Trainer (with PEFT for LoRA), in one process.

Tuned as one would: rows tokenised once, grouped by length and padded to the longest of their batch; fused AdamW; judged
at the rungs only; bf16 where the machine computes in it by itself, as Luthier does too; settings that have an order are
told as numbers; what Luthier tries first is tried first. The model is loaded anew for each trial, as `model_init` does.
Trials stop early with HyperbandPruner, and never go on.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from benchmarks import _search_task as task
from benchmarks import _trainer
from benchmarks._search_task import HORIZON, UNITS, Setting, Sizes
from luthier.models.device import choose_precision

Asked = dict[str, Any]
Found = dict[str, Any]
Report = Callable[[int, float], bool]
"""Is told units and loss at a rung; -> whether the run ends there."""


class Rows:
    """Rows of tokens and the words for their labels."""

    def __init__(self, sizes: Sizes) -> None:
        from datasets import load_dataset
        from datasets.utils.logging import disable_progress_bar
        from transformers import AutoTokenizer, DataCollatorWithPadding

        disable_progress_bar()
        tokenizer = AutoTokenizer.from_pretrained(place())
        train, validation = sizes.files
        read = load_dataset("json", data_files={"train": str(train), "validation": str(validation)})
        self.labels = sorted(set(read["train"]["label"]))

        def tokens(rows: Any) -> Any:
            made = tokenizer(rows["text"], truncation=True, max_length=task.MAX_LENGTH)
            lengths = [len(each) for each in made["input_ids"]]
            return {**made, "length": lengths, "labels": [self.labels.index(each) for each in rows["label"]]}

        kept = {n: each.map(tokens, batched=True, remove_columns=["text", "label"]) for n, each in read.items()}
        self.train, self.validation = kept["train"], kept["validation"].sort("length")
        self.collator = DataCollatorWithPadding(tokenizer)


def run(
    space: str, setting: Setting, rows: Rows, *, epochs: int, seed: int, attention: str, report: Report | None
) -> Found:
    """A run from the model's files on, judged at its rungs; without `report` at its end alone."""
    import torch
    from transformers import AutoModelForSequenceClassification, PrinterCallback, Trainer, set_seed

    set_seed(seed)
    plain = AutoModelForSequenceClassification.from_pretrained(
        place(), num_labels=len(rows.labels), attn_implementation=attention, dtype=torch.float32
    )
    method = task.method_of(space, setting)
    model = _trainer.learning(plain, method, task_type="SEQ_CLS", learnt_too=["classifier"])
    pace = {"batch_size": setting["batch_size"], "learning_rate": setting["learning_rate"], "accumulation": 1}
    in_bf16 = choose_precision("auto", "cpu") == "bf16"
    tuned = {**_trainer.TUNED, "bf16": in_bf16, "num_train_epochs": epochs, "per_device_eval_batch_size": 64}
    arguments = _trainer.arguments(**pace, seed=seed, **tuned)
    num_steps = epochs * -(-len(rows.train) // setting["batch_size"])
    watch = _watch(num_steps, report)
    trainer = Trainer(
        model,
        arguments,
        train_dataset=rows.train,
        eval_dataset=rows.validation,
        data_collator=rows.collator,
        compute_metrics=judged,
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    clock = Clock()
    trainer.train()
    told = {name: each - watch.judging[name] for name, each in clock.read().items()}
    pace = {"steps_per_s": num_steps / told["seconds"], "steps_per_cpu_s": num_steps / told["cpu_s"]}
    learnt = sum(each.numel() for each in model.parameters() if each.requires_grad)
    return {**watch.last, "units": watch.units, "parameters": learnt, **pace}


def judged(answers: Any) -> dict[str, float]:
    """Mean loss and accuracy of the validation rows."""
    logits, labels = answers.predictions.astype(np.float64), answers.label_ids
    logits = logits - logits.max(axis=1, keepdims=True)
    own = logits[np.arange(len(labels)), labels] - np.log(np.exp(logits).sum(axis=1))
    return {"nll": float(-own.mean()), "accuracy": float((logits.argmax(axis=1) == labels).mean())}


def _watch(num_steps: int, report: Report | None) -> Any:
    from transformers import TrainerCallback

    at = {max(1, round(num_steps * units / HORIZON)): units for units in (UNITS if report else (HORIZON,))}

    class Watch(TrainerCallback):  # type: ignore[misc]
        units = 0
        last: dict[str, float]

        def __init__(self) -> None:
            self.judging = {"seconds": 0.0, "cpu_s": 0.0}

        def on_step_end(self, arguments: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_evaluate = state.global_step in at
            self.clock = Clock()

        def on_evaluate(self, arguments: Any, state: Any, control: Any, metrics: Any, **_: Any) -> None:
            self.judging = {name: self.judging[name] + each for name, each in self.clock.read().items()}
            self.units = at[state.global_step]
            self.last = {"loss": metrics["eval_nll"], "accuracy": metrics["eval_accuracy"]}
            if report is not None and report(self.units, self.last["loss"]):
                control.should_training_stop = True

    return Watch()


def pool(asked: Asked) -> Found:
    """One random full run, timed whole."""
    sizes = Sizes(**asked["sizes"])
    rows = rows_of(sizes)
    clock = Clock()
    how = {"epochs": sizes.epochs, "seed": asked["seed"], "attention": asked["attention"]}
    found = run(asked["space"], asked["setting"], rows, report=None, **how)
    return {**found, **clock.read(), "setting": asked["setting"]}


def search(asked: Asked) -> Found:
    """Search until a full run reaches the target, or the budget is spent; -> what it took."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sizes, space = Sizes(**asked["sizes"]), asked["space"]
    budget = asked["most_runs"] * HORIZON
    clock = Clock()
    rows = Rows(sizes)
    study = optuna.create_study(**kinds(asked["side"], asked["seed"]), study_name=f"seed-{asked['seed']}")
    study.enqueue_trial(as_numbers(task.start(space, asked["seed"])))
    how = {"epochs": sizes.epochs, "seed": asked["seed"], "attention": asked["attention"]}
    has_pruner = asked["side"] == "tpe-hyperband"
    units, trials, deciding_s, best = 0, 0, 0.0, float("inf")
    while best > asked["target"] and units < budget:
        begun = time.perf_counter()
        trial = study.ask()
        setting = suggested(trial, space)
        deciding_s += time.perf_counter() - begun

        def report(at: int, loss: float, trial: Any = trial) -> bool:
            trial.report(loss, at)
            return bool(at < HORIZON and trial.should_prune())

        found = run(space, setting, rows, report=report if has_pruner else None, **how)
        is_full = found["units"] == HORIZON
        study.tell(trial, found["loss"] if is_full else None, state=_state(is_full))
        units, trials = units + found["units"], trials + 1
        best = min(best, found["loss"]) if is_full else best
    reached = best <= asked["target"]
    return {
        **clock.read(),
        "reached": reached,
        "best": best,
        "units": units,
        "trials": trials,
        "deciding_s": deciding_s,
    }


def warm(asked: Asked) -> Found:
    """One run, and as many proposals as let both samplers learn."""
    import optuna

    found = search({**asked, "side": "tpe-hyperband", "seed": 0, "most_runs": 0.2, "target": 0.0, "attention": "sdpa"})
    for side in ("gp", "tpe-hyperband"):
        optuna.create_study(**kinds(side, 0)).optimize(lambda trial: trial.suggest_float("x", 0, 1) ** 2, n_trials=12)
    return found


def kinds(side: str, seed: int) -> Found:
    """The sampler and pruner of a side."""
    from optuna.pruners import HyperbandPruner, NopPruner
    from optuna.samplers import GPSampler, TPESampler

    if side == "gp":
        return {"sampler": GPSampler(seed=seed), "pruner": NopPruner()}
    return {"sampler": TPESampler(seed=seed), "pruner": HyperbandPruner(1, HORIZON, task.ETA)}


def suggested(trial: Any, space: str) -> Setting:
    """A trial's setting; all but the learning rate by their place in the order."""
    setting: Setting = {
        "learning_rate": trial.suggest_float("learning_rate", *task.RATES[space], log=True),
        "batch_size": task.BATCHES[trial.suggest_int("batch_size", 0, len(task.BATCHES) - 1)],
    }
    if space == "last-k":
        return {**setting, "blocks": task.BLOCKS[trial.suggest_int("blocks", 0, len(task.BLOCKS) - 1)]}
    rank = task.RANKS[trial.suggest_int("rank", 0, len(task.RANKS) - 1)]
    return {**setting, "rank": rank, "dropout": task.DROPOUTS[trial.suggest_int("dropout", 0, len(task.DROPOUTS) - 1)]}


def as_numbers(setting: Setting) -> Setting:
    """What `suggested` asks for, of a setting."""
    orders = {"batch_size": task.BATCHES, "blocks": task.BLOCKS, "rank": task.RANKS, "dropout": task.DROPOUTS}
    return {name: orders[name].index(value) if name in orders else value for name, value in setting.items()}


def _state(is_full: bool) -> Any:
    from optuna.trial import TrialState

    return TrialState.COMPLETE if is_full else TrialState.PRUNED


class Clock:
    """Seconds of the clock, and of all this process' threads."""

    def __init__(self) -> None:
        self._began, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        return {"seconds": time.perf_counter() - self._began, "cpu_s": time.process_time() - self._cpu}


@cache
def rows_of(sizes: Sizes) -> Rows:
    """Prepared rows, for what is not timed."""
    return Rows(sizes)


@cache
def place() -> str:
    """The model's folder."""
    from luthier.data.places import locate
    from luthier.errors import ModelError

    return str(locate(task.MODEL, where="benchmark", error=ModelError))
