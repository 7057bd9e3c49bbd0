"""The loop itself: what a step tells, and what a group of parameters asks of it."""

import itertools

import pytest
import torch

from luthier.methods import Group
from luthier.methods.full import Full
from luthier.training.loop import TrainState, train
from luthier.training.settings import Training
from tests.tiny import batch, classification, model_for, rows
from tests.training.courses import events, material, run, whole

TASK = classification()
SETTINGS = Training(
    steps=4, learning_rate=0.1, device="cpu", precision="fp32", schedule={"kind": "constant", "warmup": 0.5}
)


def test_a_step_tells_its_loss_before_the_update_and_its_rate() -> None:
    model, made = model_for(TASK), batch(TASK, rows(8))
    loss = TASK.loss(model, made)
    state = TrainState.start(model, Full(), SETTINGS, 4)
    model.train = lambda mode=True: model  # no dropout, so that the loss can be computed beside
    steps = list(train(model, TASK, [whole(made)] * 4, SETTINGS, state))
    assert steps[0].loss.item() == pytest.approx((loss.total.sum() / loss.count.sum()).item())
    assert [step.number for step in steps] == [1, 2, 3, 4]
    assert [step.learning_rate for step in steps] == pytest.approx([0.1 / 3, 0.2 / 3, 0.1, 0.1])


def test_the_state_counts_rows_tokens_and_padding() -> None:
    model, made = model_for(TASK), batch(TASK, rows(8))
    state = TrainState.start(model, Full(), SETTINGS, 4)
    list(train(model, TASK, [whole(made, made)] * 3, SETTINGS, state))
    assert (state.step, state.num_rows) == (3, 48)
    assert (state.num_tokens, state.num_padding) == (6 * made.num_tokens, 6 * made.num_padding)


def test_it_ends_at_the_horizon_though_batches_go_on() -> None:
    model, made = model_for(TASK), batch(TASK, rows(4))
    state = TrainState.start(model, Full(), SETTINGS, 4)
    assert len(list(train(model, TASK, itertools.repeat(whole(made)), SETTINGS, state))) == 4


def test_a_group_learns_at_its_own_pace_and_from_its_own_epoch() -> None:
    class Slow(Full):
        def groups(self, model):
            body, head = list(model.bert.parameters()), list(model.classifier.parameters())
            return [Group(tuple(body), learning_rate_scale=0.5, starts_at_epoch=1), Group(tuple(head))]

    model, made = model_for(TASK), batch(TASK, rows(8))
    state = TrainState.start(model, Slow(), SETTINGS, 4, epoch_ends=(2, 4))
    body, rates, moved = model.bert.embeddings.word_embeddings.weight, [], []
    for _ in train(model, TASK, [whole(made)] * 4, SETTINGS, state):
        rates.append([group["lr"] for group in state.optimizer.param_groups])
        moved.append(body.detach().clone())
        assert body.requires_grad  # between steps it is what learns, as checkpoints and files know it
    assert rates[2] == [pytest.approx(0.05), pytest.approx(0.1)]
    assert torch.equal(moved[0], model_for(TASK).bert.embeddings.word_embeddings.weight)
    assert state.optimizer.state[body]["step"] == 2
    assert torch.equal(moved[0], moved[1])
    assert not torch.equal(moved[1], moved[2])


def test_gradients_are_gone_after_a_step() -> None:
    model, made = model_for(TASK), batch(TASK, rows(4))
    for _ in train(model, TASK, [whole(made)] * 2, SETTINGS, TrainState.start(model, Full(), SETTINGS, 4)):
        assert all(p.grad is None for p in model.parameters())


def test_bf16_learns_as_fp32_does_and_keeps_what_is_learnt_in_fp32() -> None:
    last = {}
    for precision in ("fp32", "bf16"):
        made = material(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        records = run(made, steps=3, log_every=1, precision=precision, optimizer={"kind": "sgd"})
        last[precision] = [r["loss"] for r in events(records, "step")]
        assert {p.dtype for p in made.model.parameters()} == {torch.float32}
    assert last["bf16"] == pytest.approx(last["fp32"], rel=0.05)
    assert last["bf16"] != last["fp32"]


def test_a_run_in_micro_batches_ends_where_the_run_in_whole_batches_ends() -> None:
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    losses = []
    for accumulation in (1, 3):
        given = {"steps": 6, "log_every": 1, "accumulation": accumulation, "optimizer": {"kind": "sgd"}}
        losses.append([r["loss"] for r in events(run(material(**still), **given), "step")])
    assert losses[0][-1] != pytest.approx(losses[0][0], rel=1e-3)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
