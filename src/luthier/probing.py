"""The gradient of a few training rows, before anything is learnt: what a choice by gradient needs."""

from dataclasses import replace

import torch

from luthier.component import Facts
from luthier.data.batching import Batching
from luthier.models.resting import resting
from luthier.tasks import Task

NUM_ROWS, AT_ONCE = 64, 8
"""Training rows, and how many of them are computed at once."""


def probe(asked: Task, facts: Facts, seed: int) -> None:
    """Compute into every parameter the gradient of the mean loss on some training rows, without dropout.

    Nothing else of the model changes.
    """
    assert facts.train is not None
    model, task = facts.model, asked.resolve(replace(facts, notes=[]))
    task.fit(model, facts.processor)
    chosen = facts.train.shuffle(seed=seed).select(range(min(NUM_ROWS, len(facts.train))))
    prepared = task.prepare(chosen, facts.processor)
    learnt = {parameter: parameter.requires_grad for parameter in model.parameters()}
    count = torch.zeros(())
    with resting(model.modules()):
        for parameter in learnt:
            parameter.requires_grad_(parameter.is_floating_point())
        for numbers in Batching(prepared["length"][:], AT_ONCE).sorted():
            loss = task.loss(model, task.collate(prepared[numbers], facts.processor).to(model.device))
            loss.total.sum().backward()
            count += loss.count.sum().cpu()
    for parameter, learns in learnt.items():
        parameter.requires_grad_(learns)
        if parameter.grad is not None:
            parameter.grad /= count.item() or 1.0
