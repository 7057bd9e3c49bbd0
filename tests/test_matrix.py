"""Every task on every family that suits it: loss falls, and what is saved and loaded again answers the same.

The families of each task are those of its examples in tests/contracts/examples/. docs/tasks.md is written from them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.component import Facts, find, names
from luthier.evaluation.predict import predict
from luthier.methods.full import Full
from luthier.models.architecture import EXAMPLES as FAMILIES_OF
from luthier.models.load import Ask, load_model
from luthier.models.source import ModelSource
from luthier.tasks import Task
from luthier.training.course import Material, course
from luthier.training.settings import Training
from tests.contracts.examples._example import Example
from tests.contracts.test_tasks import EXAMPLES
from tests.documents import hold, table

MATRIX = list(
    {(e.task.kind(), family): (e, family, side) for e in reversed(EXAMPLES) for family, side in e.families}.values()
)
"""Each task's first example for a family, the family, and the side of its padding."""


@pytest.mark.parametrize(
    ("example", "family", "side"), MATRIX, ids=[f"{e.task.kind()}-{family}" for e, family, _ in MATRIX]
)
def test_a_task_is_learnt_saved_and_loaded_again(example: Example, family: str, side: str, tmp_path: Path) -> None:
    task, processor = example.task, example.processor(side)
    model = example.build(family)
    task.fit(model, processor)
    prepared = task.prepare(example.rows, processor)
    learnt = task.prepare(example.easy or example.rows, processor, training=True)
    settings = Training(steps=40, batch_size=6, learning_rate=5e-3, log_every=1, precision="fp32", device="cpu")
    made = Material(model, processor, task, learnt, None)
    losses = [r["loss"] for r in course(made, Full(), settings.resolve(Facts(device="cpu"))) if r["event"] == "step"]
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])

    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    source = ModelSource(name=str(tmp_path), attention=model.config._attn_implementation)
    again = load_model(source, Ask.of(task), device="cpu", seed=0, processor=processor)
    task.fit(again, processor)
    how: dict[str, Any] = {"batch_size": 6}
    torch.manual_seed(0)
    before = predict(model.eval(), task, prepared, processor, **how)
    torch.manual_seed(0)
    after = predict(again.eval(), task, prepared, processor, **how)
    assert [p.value for p in after] == [p.value for p in before]
    np.testing.assert_allclose([p.loss for p in after], [p.loss for p in before], rtol=1e-5, atol=1e-6)


def test_at_least_eighteen_families_are_tried() -> None:
    assert len({family for _, family, _ in MATRIX}) >= 18
    assert {example.task.kind() for example, *_ in MATRIX} == set(names("tasks"))


def test_the_table_of_tasks_is_in_the_docs() -> None:
    rows = []
    for kind in names("tasks"):
        task = find("tasks", kind)
        assert issubclass(task, Task)
        layouts = "; ".join(", ".join(c.name for c in layout.columns if c.required) for layout in task().layouts())
        families = ", ".join(sorted({family for e, family, _ in MATRIX if e.task.kind() == kind}))
        rows.append([f"`{kind}`", ", ".join(task.architectures), layouts, families])
    guidance = [[built, families] for built, families in FAMILIES_OF.items()]
    hold("tasks.md", DOCUMENT.format(tasks=table(HEAD, rows), families=table(["architecture", "families"], guidance)))


HEAD = ["task", "suits", "columns of a row", "families tried"]
DOCUMENT = """# Tasks and the models that suit them

Encoders read a text in both directions: they are for understanding (classes, entities, answers that stand in a text,
choices). Decoders go on with a text: completion, instruction, chat. Encoder-decoders turn one text into another:
summaries, translation. Speech models write down what they hear. `task: auto` looks at the columns and the architecture,
and says what it chose and why.

{tasks}

Each family of the last column was trained on the task as a tiny model of the real class: its loss fell, and the saved
model, loaded again, gave the same answers (`tests/test_matrix.py`, which also writes this page).

{families}

These are examples: any model of transformers that is built as one of them, and has a head for the task, is taken.
"""
