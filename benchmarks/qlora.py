"""QLoRA: what SmolLM2-135M takes in four bits, what that costs in steps, and what folding changes.

    make data models
    python -m benchmarks.qlora [--steps 20] [--seeds 1]

LoRA over the weights in nf4 against LoRA over the same weights in bf16, as recipes/qlora.yaml says, on the same
dialogues. The size is that of all tensors. The folded model is the plain one that the run saves: it is loaded again,
and its perplexity on the test dialogues stands beside that of the quantised model that was trained.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

import luthier
from benchmarks._record import Row, keep, row
from luthier import recipe as recipes
from luthier.groundwork import build, read_rows, settled
from luthier.models.flat import is_laid
from luthier.models.load import Ask, load_model
from luthier.models.quantise import num_bytes, quantised
from luthier.planning import stages
from luthier.planning.subject import ready, subject_of
from luthier.recipe import Recipe
from luthier.tasks import Batch
from luthier.training.loop import TrainState, train
from luthier.training.order import Order
from luthier.training.portions import portions

SIDES = {"qlora": ["model.quantize=nf4"], "lora": ["model.quantize=none", "model.dtype=bfloat16"]}
NUM_TIMED = 6
TEST = "data/dialogues/test.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="steps of 16 dialogues")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    ours, peer = (_recipe(side, asked.steps, 0) for side in SIDES)
    rows = [*sizes(ours), *memory(ours, peer), *times(ours, peer)]
    for seed in range(asked.seeds):
        rows += trained(asked.steps, seed)
    keep("qlora", rows, setting={"steps": asked.steps, "batch_size": 16, "threads": torch.get_num_threads()})


def sizes(ours: Recipe) -> list[Row]:
    """Bytes of the quantised layers and of the whole model, against two for each weight."""
    read = read_rows(ours)
    source = settled(ours, read.device).model
    processor = read.task.load_processor(source)
    model = load_model(source, Ask.of(read.task), device=read.device, seed=0, processor=processor)
    layers = quantised(model)
    numbers = sum(layer.in_features * layer.out_features for layer in layers)
    of_layers = sum(map(num_bytes, layers))
    rest = _rest(model)
    return [
        _size("the quantised linear layers", of_layers, 2 * numbers),
        _size("the whole model", of_layers + rest, 2 * numbers + rest),
    ]


def _rest(model: PreTrainedModel) -> int:
    packed = {layer.weight for layer in quantised(model)}
    return sum(parameter.nbytes for parameter in model.parameters() if parameter not in packed)


def _size(what: str, ours: int, plain: int) -> Row:
    made = row(f"size of {what}", ours / 1e6, plain / 1e6, peer_name="bf16", unit="MB", better="lower")
    return {**made, "share": round(ours / plain, 4)}


def memory(ours: Recipe, peer: Recipe) -> list[Row]:
    """What a training step takes at most, rehearsed as `luthier plan` does."""
    peaks = []
    for recipe in (ours, peer):
        with ready(subject_of(recipe)) as made:
            peaks.append(stages.training(made).peak / 1e6)
    return [row("peak of a step, rehearsed", *peaks, peer_name="LoRA, bf16", unit="MB", better="lower")]


def times(ours: Recipe, peer: Recipe) -> list[Row]:
    """Processor time of a step; the sides take turns, and the first step of each is not counted."""
    turns = list(zip(*map(_timed_steps, (ours, peer)), strict=True))[1:]
    seconds = [statistics.median(side) for side in zip(*turns, strict=True)]
    return [row("processor time of a step", *seconds, peer_name="LoRA, bf16", unit="s", better="lower")]


def _timed_steps(recipe: Recipe) -> Iterator[float]:
    read = read_rows(recipe)
    built = build(recipe, read)
    task, settings = built.recipe.task, built.recipe.training
    prepared = task.prepare(read.splits.train, built.processor, training=True)
    order = Order.plan(prepared["length"][:], settings)

    def collate(numbers: Any) -> Batch:
        return task.collate(prepared[numbers], built.processor)

    given = islice(portions(order, settings, collate, after=0, is_flat=is_laid(built.model)), NUM_TIMED)
    state = TrainState.start(built.model, built.recipe.method, settings, NUM_TIMED)
    begun = time.process_time()
    for _ in train(built.model, task, given, settings, state):
        yield time.process_time() - begun
        begun = time.process_time()


def trained(steps: int, seed: int) -> list[Row]:
    """Both sides on the same rows: perplexity, and that of the folded model."""
    runs = {side: luthier.train(_recipe(side, steps, seed), overwrite=True) for side in SIDES}
    ours, peer = (_perplexity(run.metrics["test"]) for run in runs.values())
    scores, _ = runs["qlora"].evaluate(TEST)
    folded = scores["perplexity"].value
    changed = next(record["difference"] for record in runs["qlora"].records if record["event"] == "folded")
    learnt = row("perplexity of test dialogues", ours, peer, peer_name="LoRA, bf16", unit="perplexity", better="lower")
    plain = row("perplexity, folded", folded, ours, peer_name="as trained", unit="perplexity", better="lower")
    plain |= {"change": round(folded / ours - 1, 6), "largest_change_of_a_row": changed}
    return [{**each, "seed": seed} for each in (learnt, plain)]


def _perplexity(scores: Any) -> float:
    return float(scores["perplexity"]["value"])


def _recipe(side: str, steps: int, seed: int) -> Recipe:
    said = ["training.epochs=null", f"training.steps={steps}", "training.batch_size=16", f"training.seed={seed}"]
    said += ["training.best=last", *SIDES[side], f"output=runs/benchmarks/{side}"]
    return recipes.read(Path("recipes/qlora.yaml"), said)


if __name__ == "__main__":
    main()
