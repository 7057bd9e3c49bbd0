"""Gradual unfreezing: what begins when, and that until then it stays as it was, bit by bit."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from luthier.component import Facts
from luthier.methods.partial import Partial
from luthier.training.course import Material, course
from luthier.training.loop import TrainState, train
from luthier.training.order import Order
from luthier.training.portions import portions
from tests.test_pipeline import tiny_run
from tests.tiny import tiny
from tests.training.courses import material, settings
from tests.training.test_resume import checkpoints, told, weights

GRADUAL = Partial(train=("all",), unfreeze_every=1, layer_decay=0.9)
SIZES: dict[str, Any] = {"num_hidden_layers": 2, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
PARTS = {"classifier": 0, "bert.pooler": 0, "bert.encoder.layer.1": 1, "bert.encoder.layer.0": 2, "bert.embeddings": 3}
"""Of a BERT with two blocks, the epoch in which each part begins to learn."""


def made() -> Material:
    return material(GRADUAL, num_train=31, **SIZES)


def begin(name: str, epochs: dict[str, int] = PARTS) -> int:
    return next(epoch for part, epoch in epochs.items() if name.startswith(f"{part}."))


def starts(method: Partial, family: str = "bert") -> dict[str, int]:
    model = tiny(family)
    method.apply(model, generator=torch.Generator())
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: group.starts_at_epoch for group in method.groups(model) for p in group.parameters}


def after_each_epoch() -> list[tuple[dict[str, Tensor], set[str]]]:
    """What the parameters are before the first epoch and after each of four, and which have a state."""
    ours, asked = made(), settings(epochs=4, batch_size=8)
    order = Order.plan(ours.train["length"][:], asked)
    state = TrainState.start(ours.model, GRADUAL, asked, order.num_steps, order.epoch_ends)
    names = {p: name for name, p in ours.model.named_parameters()}
    told = [(weights(ours), set[str]())]
    rows = portions(order, asked, lambda numbers: ours.task.collate(ours.train[numbers], ours.processor), after=0)
    for step in train(ours.model, ours.task, rows, asked, state):
        if step.number in order.epoch_ends:
            told.append((weights(ours), {names[p] for p in state.optimizer.state}))
    return told


def test_a_part_is_bit_identical_until_it_begins_and_has_no_state() -> None:
    before, *epochs = after_each_epoch()
    assert len(epochs) == 4
    for number, (found, held) in enumerate(epochs):
        late = {name for name in found if begin(name) > number}
        assert all(torch.equal(found[name], before[0][name]) for name in late)
        assert held.isdisjoint(late)
        assert held == found.keys() - late
        moved = {name for name in found.keys() - late if not torch.equal(found[name], before[0][name])}
        assert len(moved) > 0.8 * len(found.keys() - late)  # a key's bias moves no softmax


def test_a_run_that_was_stopped_goes_on_bit_by_bit(tmp_path: Path) -> None:
    asked = settings(epochs=4, batch_size=8, checkpoint_every=1, keep_checkpoints=99, log_every=3)
    calm = made()
    calm_told = told(list(course(calm, GRADUAL, asked, checkpoints=checkpoints(tmp_path / "calm", keep=99))))
    expected, asked = weights(calm), asked.model_copy(update={"checkpoint_every": 1000})
    for step in range(1, 17):
        copy = shutil.copytree(tmp_path / "calm" / f"step-{step}", tmp_path / str(step) / f"step-{step}")
        again = made()
        records = list(course(again, GRADUAL, asked, checkpoints=checkpoints(copy.parent)))
        assert records[0]["step"] == step
        assert all(torch.equal(p, expected[name]) for name, p in weights(again).items())
        assert told(records) == calm_told[-len(told(records)) :]


@pytest.mark.parametrize("given", [{"fused_backward": True, "max_grad_norm": None}, {"checkpointing": "blocks"}])
def test_it_goes_with_what_saves_memory(given: dict[str, Any]) -> None:
    plain, other = made(), made()
    for each in (plain, other):
        each.model.double()  # AdamW makes whole steps of the rounding of what has no gradient, as a key's bias
    list(course(plain, GRADUAL, settings(epochs=3, batch_size=8, max_grad_norm=None)))
    list(course(other, GRADUAL, settings(epochs=3, batch_size=8, **{"max_grad_norm": None, **given})))
    expected = weights(plain)
    assert all(torch.allclose(p, expected[name], rtol=1e-8, atol=1e-10) for name, p in weights(other).items())


@pytest.mark.parametrize(
    ("every", "at_a_time", "epochs"),
    [(1, 1, (0, 1, 2, 3, 4, 5)), (2, 1, (0, 2, 4, 6, 8, 10)), (1, 2, (0, 1, 1, 2, 2, 3)), (2, 4, (0, 2, 2, 2, 2, 4))],
)
def test_more_begins_every_so_many_epochs_from_the_top(every: int, at_a_time: int, epochs: tuple[int, ...]) -> None:
    found = starts(Partial(train=("all",), unfreeze_every=every, unfreeze_blocks=at_a_time))
    parts = ["classifier", *(f"bert.encoder.layer.{number}" for number in (3, 2, 1, 0)), "bert.embeddings"]
    assert {name: begin(name, dict(zip(parts, epochs, strict=True))) for name in found if "pooler" not in name} == {
        name: epoch for name, epoch in found.items() if "pooler" not in name
    }


def test_what_stands_highest_of_what_learns_begins_at_once() -> None:
    found = starts(Partial(train=("first-2",), unfreeze_every=1))
    assert {name.split(".")[3]: epoch for name, epoch in found.items()} == {"1": 0, "0": 1}


def test_a_decoder_begins_before_its_encoder() -> None:
    found = starts(Partial(train=("encoder", "decoder", "head"), unfreeze_every=1), "t5")
    assert found["transformer.decoder.block.3.layer.0.SelfAttention.q.weight"] == 1
    assert found["transformer.encoder.block.3.layer.0.SelfAttention.q.weight"] == 5


@pytest.mark.parametrize(("epochs", "ends_early"), [(3.0, True), (6.0, False), (5.5, False), (0.0, False)])
def test_a_run_that_ends_before_all_learns_says_so(epochs: float, ends_early: bool) -> None:
    facts = Facts(model=tiny("bert"), num_epochs=epochs)
    Partial(train=("all",), unfreeze_every=1).resolve(facts)
    assert bool(facts.notes) == ends_early
    if ends_early:
        late = sum(name.startswith(("bert.encoder.layer.0", "bert.encoder.layer.1", "bert.emb")) for name, _ in
                   tiny("bert").named_parameters())  # fmt: skip
        assert f"the run has 3 epochs, so {late} of " in facts.notes[0]
        assert "training.epochs=6 reaches all of them" in facts.notes[0]


def test_a_whole_run_tells_it_and_answers(tmp_path: Path) -> None:
    method = {"kind": "partial", "train": "all", "unfreeze_every": 1, "rates": {"head": 5}}
    training = {"epochs": 3, "batch_size": 8, "learning_rate": 5e-3, "precision": "fp32", "seed": 1}
    run, records = tiny_run(tmp_path, method=method, training=training)
    (record,) = [each for each in records if each["event"] == "model"]
    assert record["trainable"] == record["parameters"]
    assert any("method.unfreeze_every: the run has 3 epochs" in note for note in record["notes"])
    assert len(run.predict(["w0 w0"])) == 1
