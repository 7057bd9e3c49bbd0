"""Whether every path of a training on a GPU is right: its loss and its whole gradient beside those of plain fp32.

The reference is transformers alone, on a CPU, in fp32. A path's gradient is what a step of plain gradient descent moved
its weights by. Then: a cache of frozen states changes no loss, and a run that stopped goes on bit by bit.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from benchmarks import _llama
from benchmarks._ours import build
from benchmarks._work import Work
from luthier.groundwork import Built
from luthier.methods import Method
from luthier.methods._low_rank import Update
from luthier.methods._parts import parts_of
from luthier.methods.full import Full
from luthier.methods.lora import Lora
from luthier.methods.partial import Partial
from luthier.models.load import GPU_ATTENTION
from luthier.training.checkpoints import Checkpoints
from luthier.training.course import Material, course

Answer = tuple[float, dict[str, Tensor]]
"""A loss, and the gradients by their parameters' names."""
Figures = dict[str, Any]
LENGTHS = [70, 5, 33, 33, 64, 12]
EXACT, ROUNDED, COARSE = 1e-4, 1e-2, 5e-2
"""Largest relative errors: of fp32, fp16, bf16."""
NUM_TRIES = 20
"""Steps until fp16 has found its scale."""


@dataclass(frozen=True)
class Way:
    """One way to compute the same step."""

    limit: float
    training: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    method: Method = field(default_factory=Full)
    needs_gpu: bool = False


FP32, BF16, SDPA = {"precision": "fp32"}, {"precision": "bf16"}, {"attention": "sdpa"}
WAYS: dict[str, Way] = {
    "fp32": Way(EXACT, FP32),
    "fp32, padded, SDPA": Way(EXACT, FP32, SDPA),
    "fp32, padded, eager": Way(EXACT, FP32, {"attention": "eager"}),
    "fp32, micro-batches": Way(EXACT, {**FP32, "micro_batch_tokens": 70}),
    "fp32, accumulation": Way(EXACT, {**FP32, "accumulation": 3}),
    **{f"fp32, checkpointing {kind}": Way(EXACT, {**FP32, "checkpointing": kind}) for kind in ("blocks", "attention")},
    "fp32, checkpointing selective": Way(EXACT, {**FP32, "checkpointing": "selective"}),
    "fp32, checkpointing padded": Way(EXACT, {**FP32, "checkpointing": "blocks"}, SDPA),
    "fp32, offloaded": Way(EXACT, {**FP32, "offload_activations": True}, needs_gpu=True),
    "fp32, fused backward": Way(EXACT, {**FP32, "fused_backward": True, "micro_batch_tokens": None}),
    "fp32, LoRA": Way(EXACT, FP32, method=Lora()),
    "bf16": Way(COARSE, BF16),
    "bf16, padded, SDPA": Way(COARSE, BF16, SDPA),
    "bf16, checkpointing blocks": Way(COARSE, {**BF16, "checkpointing": "blocks"}),
    "bf16, checkpointing selective": Way(COARSE, {**BF16, "checkpointing": "selective"}),
    "bf16, offloaded": Way(COARSE, {**BF16, "offload_activations": True}, needs_gpu=True),
    "bf16, LoRA on a base in bf16": Way(COARSE, BF16, {"dtype": "bfloat16"}, Lora()),
    **{f"bf16, padded, {kind}": Way(COARSE, BF16, {"attention": kind}, needs_gpu=True) for kind in GPU_ATTENTION},
    "fp16": Way(ROUNDED, {"precision": "fp16"}, needs_gpu=True),
    "fp16, padded, SDPA": Way(ROUNDED, {"precision": "fp16"}, SDPA, needs_gpu=True),
}


def checks() -> Iterator[tuple[str, Figures]]:
    """Each check with its figures: `error`, its `limit`, and whether it is `right`; or why it was not done."""
    work = _llama.work("tiny", LENGTHS, num_warm=0)
    for name, way in WAYS.items():
        package, is_there = GPU_ATTENTION.get(way.model.get("attention", ""), ("", bool))
        if way.needs_gpu and not torch.cuda.is_available():
            yield name, {"skipped": "needs a GPU"}
        elif package and not is_there():
            yield name, {"skipped": f"needs {package}"}
        else:
            yield name, _figures(lambda way=way: max(_errors(work, way)), way.limit)
    yield "cache of frozen states", _figures(lambda: _cache_error(work), COARSE)
    yield "a run that stopped", _figures(lambda: _resume_error(work), 0.0)


def _figures(check: Callable[[], float], limit: float) -> Figures:
    """A check that fails is a result: the others are still to be done."""
    try:
        error = check()
    except Exception as failure:
        return {"failed": f"{type(failure).__name__}: {failure}"[:300], "limit": limit, "right": False}
    return {"error": error, "limit": limit, "right": error <= limit}


def _errors(work: Work, way: Way) -> Iterator[float]:
    """Relative errors of the loss and of the whole gradient."""
    loss, gradients = _step(work, way)
    expected_loss, expected = _reference(work.source.name)
    yield abs(loss / expected_loss - 1)
    expected = {name: each for name, each in expected.items() if (".lora." in name) == isinstance(way.method, Lora)}
    assert gradients.keys() == expected.keys(), "another set of parameters learnt"
    difference = sum(float((gradients[name] - expected[name]).square().sum()) for name in expected)
    yield (difference / sum(float(each.square().sum()) for each in expected.values())) ** 0.5


def _step(work: Work, way: Way) -> Answer:
    """The loss of Luthier's first step, and its gradient; of LoRA's B, that of the weight it stands for, seen by A."""
    descent = {"optimizer": {"kind": "sgd", "momentum": 0.0, "weight_decay": 0.0}, "learning_rate": 1.0}
    pace = {"batch_size": len(LENGTHS), "steps": NUM_TRIES, "max_grad_norm": None, **descent}
    built = build(work, way.method, model={"dtype": "float32", **way.model}, **pace, **way.training)
    before = _weights(built)
    for record in course(_material(built, work), way.method, built.recipe.training):
        if record["event"] == "step":
            moved = {name: before[name] - weight for name, weight in _weights(built).items()}
            if any(each.any() for each in moved.values()):
                return record["loss"], {name: each / record["learning_rate"] for name, each in moved.items()}
    raise ArithmeticError("no step was taken")


@cache
def _reference(folder: str) -> Answer:
    """What plain transformers says on a CPU in fp32."""
    work = _llama.work("tiny", LENGTHS, num_warm=0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    batch = work.task.collate(work.train[list(range(len(LENGTHS)))], work.processor)
    loss = model(**batch.inputs, labels=batch.targets).loss
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    built = build(work, Lora(), model={"dtype": "float32"}, device="cpu", batch_size=1, steps=1, learning_rate=1.0)
    names = {module: name for name, module in built.model.named_modules()}
    for layer, update in parts_of(built.model, Update):  # W + scale B A, where B is zero
        name = names[layer]
        gradients[f"{name}.lora.A"] = torch.zeros_like(update.A)
        gradients[f"{name}.lora.B"] = update.scale * gradients[f"{name}.weight"] @ update.A.detach().T.cpu()
    return loss.item(), gradients


def _cache_error(work: Work) -> float:
    """Relative difference of the last loss of three epochs, with a cache and without."""
    losses = []
    for kind in ("off", "memory"):
        method = Partial(train=("last-1",))
        pace = {"batch_size": 3, "epochs": 3.0, "learning_rate": 1e-3, "cache": kind}
        built = build(work, method, model={"dtype": "float32"}, **pace)
        records = list(course(_material(built, work), method, built.recipe.training))
        losses.append([record["loss"] for record in records if record["event"] == "step"][-1])
    return abs(losses[1] / losses[0] - 1)


def _resume_error(work: Work) -> float:
    """How many weights differ between a run that went through and one that stopped half way."""

    def run(folder: Path | None, stops_after: int | None = None) -> Built:
        pace = {"batch_size": 2, "steps": 6, "learning_rate": 1e-3, "checkpoint_every": 2}
        built = build(work, Full(), model={"dtype": "float32"}, **pace)
        checkpoints = folder and Checkpoints(folder, {"id": "benchmark"})
        line = course(_material(built, work), Full(), built.recipe.training, checkpoints=checkpoints)
        for record in line:
            if record["event"] == "checkpoint" and record["step"] == stops_after:
                line.close()
        return built

    with tempfile.TemporaryDirectory() as folder:
        calm = _weights(run(None))
        run(Path(folder), stops_after=4)
        again = _weights(run(Path(folder)))
    return float(sum(int((calm[name] != again[name]).sum()) for name in calm))


def _weights(built: Built) -> dict[str, Tensor]:
    return {name: p.detach().cpu().clone() for name, p in built.model.named_parameters() if p.requires_grad}


def _material(built: Built, work: Work) -> Material:
    return Material(built.model, built.processor, built.recipe.task, work.train, None)
