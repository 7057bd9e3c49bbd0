"""A run of any task that was interrupted goes on bit by bit: what a task draws by itself follows the step's seed."""

from pathlib import Path

import torch

from luthier.component import Facts
from luthier.interrupt import Interrupted, Stop
from luthier.methods.full import Full
from luthier.training.checkpoints import Checkpoints
from luthier.training.course import Material, course
from luthier.training.settings import Training
from tests.contracts.examples._example import Example
from tests.contracts.test_tasks import every_example

STEPS, STOPPED_AFTER = 6, 3


def made_for(example: Example) -> Material:
    family, side = example.families[0]
    model, processor = example.build(family), example.processor(side)
    example.task.fit(model, processor)
    rows = example.task.prepare(example.rows, processor, training=True)
    return Material(model, processor, example.task, rows, None)


def learnt(example: Example, folder: Path, *, stopped_after: int | None = None) -> dict[str, torch.Tensor]:
    """The weights after the last step, or after the one at which a signal came."""
    made, stop = made_for(example), Stop()
    asked = Training(steps=STEPS, batch_size=4, learning_rate=1e-2, precision="fp32", device="cpu", seed=1)
    kept = Checkpoints(folder, {"id": "this run"}, 2)
    line = course(made, Full(), asked.resolve(Facts(device="cpu")), checkpoints=kept, stop=stop)
    try:
        for record in line:
            if record["event"] == "progress" and record["step"] == stopped_after:
                stop.asked_by = 2
    except Interrupted:
        assert stopped_after is not None
    return {name: parameter.detach().clone() for name, parameter in made.model.named_parameters()}


@every_example
def test_a_run_of_every_task_goes_on_as_if_it_had_not_stopped(example: Example, tmp_path: Path) -> None:
    calm = learnt(example, tmp_path / "calm")
    early = learnt(example, tmp_path / "stopped", stopped_after=STOPPED_AFTER)
    again = learnt(example, tmp_path / "stopped")
    assert any(not torch.equal(early[name], calm[name]) for name in calm)
    assert all(torch.equal(again[name], calm[name]) for name in calm)
