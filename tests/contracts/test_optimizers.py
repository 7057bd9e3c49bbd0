"""What every optimiser does: it descends, and decays what is to be decayed and nothing else."""

import pytest
import torch
from torch import nn

from luthier.methods import Group
from luthier.training.optimizers import Optimizer
from tests.contracts.kinds import all_of, kind_of

every_optimizer = pytest.mark.parametrize("optimizer", all_of("optimizers"), ids=kind_of)


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def step(optimizer: Optimizer, groups: list[Group], *, rate: float = 0.1, num_steps: int = 1) -> None:
    """Steps down the sum of squares."""
    built = optimizer.build(groups)
    for _ in range(num_steps):
        for options in built.param_groups:
            options["lr"] = rate * options["learning_rate_scale"]
        for group in groups:
            for each in group.parameters:
                each.grad = 2 * each.detach()
        built.step()


@every_optimizer
def test_a_step_descends(optimizer: Optimizer) -> None:
    x = parameter(1.0, -2.0)
    step(optimizer, [Group((x,))])
    assert (x.abs() < torch.tensor([1.0, 2.0])).all()


@every_optimizer
def test_many_small_steps_reach_the_bottom(optimizer: Optimizer) -> None:
    x = parameter(1.0, -2.0)
    step(optimizer, [Group((x,))], rate=0.01, num_steps=1000)
    assert x.abs().max() < 1e-2


@every_optimizer
def test_only_groups_that_ask_for_it_are_decayed(optimizer: Optimizer) -> None:
    decayed, kept = parameter(1.0), parameter(1.0)
    groups = [Group((decayed,)), Group((kept,), weight_decay=False)]
    built = optimizer.model_copy(update={"weight_decay": 0.5}).build(groups)
    for options in built.param_groups:
        options["lr"] = 0.1
    decayed.grad, kept.grad = torch.zeros(1), torch.zeros(1)
    built.step()
    assert kept.item() == 1.0
    assert 0.9 < decayed.item() < 1.0


@every_optimizer
def test_without_weight_decay_nothing_is_decayed(optimizer: Optimizer) -> None:
    x = parameter(1.0)
    built = optimizer.model_copy(update={"weight_decay": 0.0}).build([Group((x,))])
    x.grad = torch.zeros(1)
    built.param_groups[0]["lr"] = 0.1
    built.step()
    assert x.item() == 1.0


@every_optimizer
def test_a_groups_scale_and_start_reach_the_loop(optimizer: Optimizer) -> None:
    groups = [Group((parameter(1.0),), learning_rate_scale=0.5, starts_at_epoch=7), Group((parameter(1.0),))]
    options = optimizer.build(groups).param_groups
    assert [(o["learning_rate_scale"], o["starts_at_epoch"]) for o in options] == [(0.5, 7), (1.0, 0)]


@every_optimizer
def test_nothing_moves_before_the_loop_sets_a_rate(optimizer: Optimizer) -> None:
    x = parameter(1.0)
    built = optimizer.build([Group((x,))])
    x.grad = torch.ones(1)
    built.step()
    assert x.item() == 1.0
