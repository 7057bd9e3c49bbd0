"""One run, as a straight line: recipe -> data -> model -> method -> train -> evaluate -> report -> export.

The line is a generator of records: each is a line of the run's log, yielded as it is written; a bare `progress`
record, which is not logged, follows every step. Whoever follows the line shows the records, or stops.
"""

from collections.abc import Iterator

import torch
from datasets import Dataset
from transformers import PreTrainedModel

from luthier import export
from luthier.component import Facts
from luthier.data.splits import load
from luthier.environment import environment
from luthier.evaluation.predict import predict
from luthier.evaluation.score import as_json, metrics_of, score
from luthier.models.device import choose_device
from luthier.models.load import load_model, load_processor, num_positions
from luthier.recipe import Recipe
from luthier.report.write import write_report
from luthier.run import Record, Run, answer
from luthier.training.course import Material, course

NUM_TRAIN_SCORED = 500
"""Training rows that are scored at the end, to see the gap to the validation rows."""

CHOSEN = {"learning_rate", "precision", "device"}
"""Settings whose `auto` is worth a line on the screen."""


def follow(recipe: Recipe, *, overwrite: bool = False) -> Iterator[Record]:
    """Run a recipe to its end, record by record; `Run.open(recipe.output)` then opens what came out.

    Raises LuthierError, of the kind that tells where the line broke.
    """
    device = choose_device(recipe.training.device)
    run = Run.create(recipe.output, overwrite=overwrite)

    splits = load(recipe.data, recipe.task.columns(), seed=recipe.training.seed)
    task = recipe.task.resolve(Facts(device=device, train=splits.train))
    yield run.log("data", rows={name: len(rows) for name, rows in splits.named().items()}, notes=splits.notes)

    processor = load_processor(recipe.model)
    seed = recipe.training.seed
    model = load_model(recipe.model, task.auto_model, task.configuration(), device=device, seed=seed)
    positions = num_positions(model, processor)
    facts = Facts(device, splits.train, len(splits.train), model.num_parameters(), positions)
    recipe = recipe.resolve(facts)
    task = recipe.task
    recipe.method.apply(model, generator=torch.Generator().manual_seed(seed))
    run.write_recipe(recipe)
    run.write_json("environment.json", environment(recipe, splits))
    yield run.log("model", **_size(model), **recipe.training.model_dump(include=CHOSEN))

    prepared = {name: task.prepare(rows, processor) for name, rows in splits.named().items()}
    material = Material(model, processor, task, prepared["train"], prepared.get("validation"))
    for record in course(material, recipe.method, recipe.training):
        yield record if record["event"] == "progress" else run.log(**record)

    for name, rows in _scored(prepared).items():
        yield _judge(run, recipe, material, name, rows)

    rows = _to_check(splits.named())
    expected = answer(model, processor, task, rows)
    export.save(run, recipe.method, model, processor)
    yield run.log("saved", folder=str(run.folder))
    yield export.self_check(run, rows, expected)

    write_report(run)
    yield run.log("done", folder=str(run.folder))


def _size(model: PreTrainedModel) -> dict[str, int]:
    """Parameters in all, and those that learn."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {"parameters": sum(n for n, _ in sizes), "trainable": sum(n for n, learns in sizes if learns)}


def _scored(prepared: dict[str, Dataset]) -> dict[str, Dataset]:
    """Every split, of the training rows a sample."""
    train = prepared["train"]
    sample = train.shuffle(seed=0).select(range(min(NUM_TRAIN_SCORED, len(train))))
    return {**prepared, "train": sample}


def _judge(run: Run, recipe: Recipe, material: Material, name: str, rows: Dataset) -> Record:
    """Score a split, add it to metrics.json, and keep its predictions beside."""
    task = material.task
    predictions = predict(material.model, task, rows, material.processor, **recipe.training.evaluation())
    targets = rows["target"][:]
    scores = score(metrics_of(task.metrics), predictions, targets)
    run.add_scores(name, as_json(scores))
    run.write_predictions(name, predictions, targets.tolist())
    return run.log("score", split=name, rows=len(rows), **{key: s.value for key, s in scores.items()})


def _to_check(splits: dict[str, Dataset]) -> list[dict[str, object]]:
    """Rows for the self-check, without their labels: of the last split, the one that was not learnt."""
    rows = list(splits.values())[-1]
    texts = rows.select(range(min(export.NUM_CHECKED, len(rows))))
    return [{key: value for key, value in row.items() if key != "label"} for row in texts]
