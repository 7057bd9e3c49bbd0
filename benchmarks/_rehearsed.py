"""One recipe, predicted and measured: what `luthier plan` says of a step, and what two real steps take."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks._allocator import measured_peak
from luthier import recipe as recipes
from luthier.groundwork import make_ready, settled
from luthier.models.architecture import auto_class
from luthier.models.flat_trial import lay_flat
from luthier.models.load import Ask, attention
from luthier.models.quantise import quantise
from luthier.planning import stages
from luthier.planning.subject import Subject, ready, subject_of
from luthier.recipe import Recipe
from luthier.training.loop import TrainState, train
from luthier.training.order import Order
from luthier.training.portions import portions

NUM_STEPS = 2
TASKS = {"bert": "text-classification", "llama": "causal-lm", "t5": "seq2seq"}
METHODS = {"full": "full", "lora": "lora", "qlora": "lora", "last-1": "{kind: partial, train: [last-1, head]}"}


@dataclass(frozen=True)
class Case:
    """A family, and how it is trained."""

    family: str
    method: str
    checkpointing: str | None = None
    accumulation: int = 1
    precision: str = "fp32"

    def __str__(self) -> str:
        again = f", checkpointing {self.checkpointing}" if self.checkpointing else ""
        parts = f", {self.accumulation} micro-batches" if self.accumulation > 1 else ""
        return f"{self.family} {self.method}, {self.precision}{again}{parts}"


def cases() -> Iterator[Case]:
    """Three families, each under every method, with and without checkpointing and accumulation."""
    for family in TASKS:
        yield Case(family, "full")
        yield Case(family, "full", "blocks", 2)
        yield Case(family, "full", None, 2, "bf16")
        yield Case(family, "lora", "blocks")
        yield Case(family, "lora", None, 2)
        yield Case(family, "last-1")
        yield Case(family, "qlora", None, 1, "bf16")


def configuration(family: str, *, layers: int, width: int, words: int) -> dict[str, Any]:
    """A family's `config.json`."""
    if family == "t5":
        sizes = {"d_model": width, "d_kv": width // 4, "d_ff": 4 * width, "num_layers": layers, "num_heads": 4}
        return {"model_type": family, "vocab_size": words, "pad_token_id": 0, "decoder_start_token_id": 0, **sizes}
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    return {"model_type": family, "vocab_size": words, "pad_token_id": 0, "num_attention_heads": 4, **sizes}


def subject(case: Case, folder: Path, size: dict[str, Any], *, length: int, batch_size: int) -> Subject:
    """What is planned; the folder gets the configuration, and nothing else is needed."""
    (folder / "config.json").write_text(json.dumps(configuration(case.family, **size)), encoding="utf-8")
    training = [
        f"training.checkpointing={case.checkpointing or 'null'}",
        f"training.accumulation={case.accumulation}",
        f"training.precision={case.precision}",
        f"training.batch_size={batch_size}",
        *("training.micro_batch_tokens=null", "training.device=cpu", f"training.steps={NUM_STEPS}"),
    ]
    asked = [f"model={folder}", "data.train=none", f"task={TASKS[case.family]}", f"method={METHODS[case.method]}"]
    asked += ["model.quantize=nf4"] if case.method == "qlora" else []
    return subject_of(recipes.parse("", [*asked, *training]), length=length)


def predicted(planned: Subject) -> tuple[stages.Stage, float]:
    """What the plan says of a training step, and the seconds that it took to say it."""
    begun = time.perf_counter()
    with ready(planned) as made:
        stage = stages.training(made)
    return stage, time.perf_counter() - begun


def measured(planned: Subject) -> int:
    """Bytes that two real steps take, on a model of random weights that is built like the planned one."""
    recipe: Recipe = settled(planned.recipe, "cpu")
    rows, processor, ask = planned.rows, planned.processor, Ask.of(planned.rows.task)
    settings = planned.settings
    settings._attn_implementation = attention(recipe.model.attention, "cpu")
    chosen: Any = auto_class(ask.auto_model, settings)
    model = chosen.from_config(settings, dtype=torch.bfloat16 if recipe.model.dtype == "bfloat16" else torch.float32)
    if recipe.model.quantize != "none":
        quantise(model, recipe.model.quantize, device="cpu")
    model.config.pad_token_id, model.config.use_cache = processor.pad_token_id, False
    resolved = make_ready(recipe, rows, model, processor)
    lay_flat(model)
    task, training = resolved.task, resolved.training
    prepared = task.prepare(rows.splits.train, processor, training=True)
    order = Order.plan(prepared["length"][:], training)

    def run() -> None:
        given = portions(order, training, lambda numbers: task.collate(prepared[numbers], processor), after=0)
        state = TrainState.start(model, resolved.method, training, NUM_STEPS)
        for _ in train(model, task, given, training, state):
            pass

    return measured_peak(model, run)
