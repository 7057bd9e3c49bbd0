"""How long a step takes, from a few real ones: a rate of another shape errs by a third, the shape itself does not."""

import time
from itertools import islice

from luthier.groundwork import Rows, build
from luthier.models.flat import is_laid
from luthier.recipe import Recipe
from luthier.tasks import Batch
from luthier.training import portions
from luthier.training.loop import TrainState, train
from luthier.training.order import Order

NUM_STEPS = 6
"""Steps that are taken; the first, which warms everything up, is not counted."""


def measure(recipe: Recipe, rows: Rows) -> tuple[float, float]:
    """Least and most seconds of a real step; nothing is written.

    Raises LuthierError where the run could not begin.
    """
    built = build(recipe, rows)
    task, settings = built.recipe.task, built.recipe.training
    prepared = task.prepare(rows.splits.train, built.processor, training=True)
    stage = built.recipe.method.stage(task)
    order = Order.of(stage, prepared, settings)

    def collate(numbers: portions.Rows) -> Batch:
        return stage.task.collate(prepared[numbers], built.processor)

    is_flat = is_laid(built.model)
    some = islice(portions.portions(order, settings, collate, after=0, is_flat=is_flat), NUM_STEPS)
    state = TrainState.start(built.model, built.recipe.method, settings, NUM_STEPS)
    seconds, begun = list[float](), time.perf_counter()
    for step in train(built.model, stage.task, some, settings, state):
        float(step.loss)  # waits for the device
        seconds.append(time.perf_counter() - begun)
        begun = time.perf_counter()
    timed = seconds[1:] or seconds
    return min(timed), max(timed)
