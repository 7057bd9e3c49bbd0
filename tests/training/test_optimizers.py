"""The optimisers that save memory: they learn as AdamW does, in less memory, and go on bit by bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from luthier.errors import MissingExtra, RecipeError
from luthier.methods import Group
from luthier.methods.full import Full
from luthier.training.course import Material, course
from luthier.training.optimizers.adafactor import Adafactor
from luthier.training.optimizers.adamw import AdamW
from luthier.training.optimizers.adamw_8bit import AdamW8bit
from luthier.training.settings import Training
from tests.training.courses import Record, events, material, run, settings
from tests.training.test_resume import checkpoints, weights

SMALL = [Adafactor(), AdamW8bit()]
WIDE = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
"""Wide enough that most weights have 4,096 numbers and more."""

every_small_one = pytest.mark.parametrize("optimizer", SMALL, ids=["adafactor", "adamw-8bit"])


def loss_after(optimizer: Any, **given: Any) -> float:
    made = material(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **WIDE)
    asked = {"steps": 12, "log_every": 1, "learning_rate": 2e-3, "best": "last", **given}
    losses = [record["loss"] for record in events(run(made, optimizer=optimizer, **asked), "step")]
    assert losses[0] > 1.0
    return losses[-1]


@every_small_one
def test_it_learns_as_adamw_does(optimizer: Any) -> None:
    expected = loss_after(AdamW())
    assert expected < 0.3
    assert loss_after(optimizer) < 1.25 * expected + 0.02


def held(optimizer: Any) -> tuple[int, int]:
    """Bytes of the weights, and of what the optimiser holds beside them after a step."""
    weight = nn.Parameter(torch.randn(512, 512))
    built = optimizer.build([Group((weight,))])
    weight.grad = torch.randn(512, 512)
    built.step()
    kept = built.state[weight].values()
    return weight.nbytes, sum(value.nbytes for value in kept if isinstance(value, Tensor))


def test_it_holds_less() -> None:
    assert held(AdamW())[1] >= 2 * held(AdamW())[0]
    weights_8bit, kept_8bit = held(AdamW8bit())
    assert kept_8bit < 0.52 * weights_8bit
    weights_of_it, kept = held(Adafactor())
    assert kept < 0.005 * weights_of_it


def test_adafactor_is_the_papers_update_at_our_rate() -> None:
    weight = nn.Parameter(torch.randn(6, 4, dtype=torch.float64))
    built = Adafactor(weight_decay=0.0).build([Group((weight,))])
    built.param_groups[0]["lr"] = 0.1
    rows, columns = torch.zeros(6, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for step in range(1, 4):
        gradient = torch.randn(6, 4, dtype=torch.float64)
        keep = 1 - step**-0.8
        squared = gradient.square() + 1e-30
        rows, columns = keep * rows + (1 - keep) * squared.mean(1), keep * columns + (1 - keep) * squared.mean(0)
        update = gradient / (rows[:, None] * columns / rows.mean()).sqrt()
        expected = weight.detach() - 0.1 * update / max(1.0, update.square().mean().sqrt())
        weight.grad = gradient
        built.step()
        assert torch.allclose(weight, expected, rtol=1e-12, atol=1e-12)


def follow(made: Material, folder: Path, asked: Training, until: int | None = None) -> list[Record]:
    """Every record, or those until a checkpoint."""
    records, line = [], course(made, Full(), asked, checkpoints=checkpoints(folder))
    for record in line:
        records.append(record)
        if record["event"] == "checkpoint" and record["step"] == until:
            line.close()
    return records


@every_small_one
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_that_stopped_goes_on_bit_by_bit(optimizer: Any, precision: str, tmp_path: Path) -> None:
    asked = settings(steps=6, checkpoint_every=1, optimizer=optimizer, precision=precision, best="last")
    calm, stopped, again = (material(**WIDE) for _ in range(3))
    follow(calm, tmp_path / "calm", asked)
    follow(stopped, tmp_path / "stopped", asked, until=3)
    records = follow(again, tmp_path / "stopped", asked)
    assert records[0]["step"] == 3
    assert all(torch.equal(p, weights(calm)[name]) for name, p in weights(again).items())


@every_small_one
def test_a_gradient_that_is_no_number_moves_nothing(optimizer: Any) -> None:
    made = material(**WIDE)
    made.model.classifier.register_forward_hook(lambda layer, _, logits: logits * float("nan"))
    before = {name: p.clone() for name, p in weights(made).items()}
    records = run(made, optimizer=optimizer, steps=2, log_every=1, max_nan_steps=2, best="last")
    assert [record["skipped"] for record in events(records, "step")] == [[1], [2]]
    assert all(torch.equal(p, before[name]) for name, p in weights(made).items())


def test_pages_need_a_gpu() -> None:
    with pytest.raises(RecipeError, match=r"training\.optimizer\.paged: pages move between a GPU and its host"):
        settings(optimizer={"kind": "adamw-8bit", "paged": True})
    AdamW8bit(paged=True).require("cuda")


def test_without_the_package_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.extras.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"luthier\[quantize\]"):
        settings(optimizer="adamw-8bit")


def test_offloading_needs_a_gpu() -> None:
    with pytest.raises(RecipeError, match=r"training\.offload_activations: .* here is no GPU"):
        settings(offload_activations=True)
    Training(offload_activations=True).require("cuda")
