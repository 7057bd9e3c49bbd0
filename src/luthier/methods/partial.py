"""Partial fine-tuning: chosen parts learn, the rest stays as it was, bit by bit.

Lee et al. 2023, https://arxiv.org/abs/2210.11466, show when fewer layers do better than all. Gradual unfreezing and
rates that fall from the top down are those of Howard and Ruder 2018, https://arxiv.org/abs/1801.06146.
"""

from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import nn
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.errors import MethodError
from luthier.methods import Group, Method, _levels
from luthier.methods._surgical import most_moved
from luthier.models.heads import NEW
from luthier.models.selectors import select

LIGHT = {"head", "bias", "norm"}
"""Parts with few parameters, which learn at a higher rate (BitFit: Ben-Zaken et al. 2021)."""


class Partial(Method):
    """Chosen parts learn, by the names of the selector language; the rest is frozen."""

    train: Annotated[tuple[str, ...], Field(min_length=1)] = ("head",)
    """Parts that learn: head, last-2, attention, norm, bias, encoder, blocks.4-6, names, re:...; a list adds up."""
    freeze: tuple[str, ...] = ()
    """Parts that stay frozen all the same, by the same names: train: all, freeze: [embedding, first-4]."""
    surgical: Annotated[int, Field(gt=0)] | None = None
    """Number of blocks that learn beside `train`: those of the largest gradient relative to their weights, found by a
    probe of the training rows; recipe.yaml then names them."""
    unfreeze_every: Annotated[int, Field(gt=0)] | None = None
    """Epochs after which more begins to learn, from the top down: head, block by block, embeddings; null: all at
    once."""
    unfreeze_blocks: Annotated[int, Field(gt=0)] = 1
    """Blocks that begin at a time."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of a block over that of the block above: 0.65 to 0.95, where 1 has one rate for all."""
    rates: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Factors of the learning rate by part, as {head: 10, embedding: 0.1}; a parameter of two parts has both."""

    @model_validator(mode="after")
    def _steps_need_a_pace(self) -> Self:
        if self.unfreeze_blocks > 1 and self.unfreeze_every is None:
            raise ValueError("unfreeze_blocks says how many begin at a time; unfreeze_every must say when")
        return self

    def learning_rate(self, facts: Facts) -> float:
        is_small = facts.num_parameters < 50e6
        if self.train == ("head",):
            return 1e-2
        if LIGHT.issuperset(self.train):
            return 1e-3 if is_small else 4e-4
        return 2e-4 if is_small else 5e-5

    def resolve(self, facts: Facts) -> Self:
        if facts.model is None:
            return self
        made = self
        if self.surgical is not None:
            taken = [*select(facts.model, self.train, where="method.train"), *self._frozen(facts.model)]
            found = most_moved(facts.model, self.surgical, facts.probe, taken=taken, where="method.surgical")
            made = self.model_copy(update={"surgical": None, "train": (*found, *self.train)})
            if facts.probe is not None:
                facts.notes.append(f"method.surgical: {', '.join(found)} learn: the largest relative gradients")
        facts.notes.extend(made._remarks(facts))
        return made

    def apply(self, model: PreTrainedModel, *, generator: torch.Generator) -> None:
        if self.surgical is not None:
            raise MethodError(
                "method.surgical: blocks are chosen from a run's rows, by resolve(facts); or name them in method.train"
            )
        chosen = self._chosen(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in chosen)
            if name in chosen:
                parameter.data = parameter.data.float()
        self.groups(model)  # refuses now what would be refused when the training begins

    def groups(self, model: PreTrainedModel) -> list[Group]:
        """By learning rate, first epoch and decay; biases and norms (vectors) are not decayed."""
        learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
        scales, begins = self._scales(model, learning), self._starts(model, learning)
        alike: dict[tuple[float, int, bool], list[nn.Parameter]] = {}
        for name, parameter in learning.items():
            alike.setdefault((scales[name], begins[name], parameter.ndim >= 2), []).append(parameter)
        return [
            Group(tuple(parameters), learning_rate_scale=scale, weight_decay=decays, starts_at_epoch=epoch)
            for (scale, epoch, decays), parameters in alike.items()
        ]

    def _chosen(self, model: PreTrainedModel) -> set[str]:
        chosen = set(select(model, self.train, where="method.train"))
        for selector in self.freeze:
            if chosen.isdisjoint(select(model, (selector,), where="method.freeze")):
                raise MethodError(f"method.freeze: {selector} is no part of what method.train chose; leave it out")
        chosen -= self._frozen(model)
        if not chosen:
            raise MethodError("method.freeze: takes away all that method.train chose; nothing is left to learn")
        return chosen

    def _frozen(self, model: PreTrainedModel) -> set[str]:
        return set(select(model, self.freeze, where="method.freeze"))

    def _scales(self, model: PreTrainedModel, learning: dict[str, nn.Parameter]) -> dict[str, float]:
        scales = dict.fromkeys(learning, 1.0)
        if self.layer_decay < 1:
            shares = _levels.rates(_levels.levels(model, where="method.layer_decay"), self.layer_decay)
            scales = {name: shares[name] for name in learning}
        for selector, factor in self.rates.items():
            found = learning.keys() & select(model, (selector,), where="method.rates")
            if not found:
                raise MethodError(f"method.rates: {selector} does not learn; leave it out, or add it to method.train")
            for name in found:
                scales[name] *= factor
        return scales

    def _starts(self, model: PreTrainedModel, learning: dict[str, nn.Parameter]) -> dict[str, int]:
        if self.unfreeze_every is None:
            return dict.fromkeys(learning, 0)
        of = _levels.levels(model, where="method.unfreeze_every")
        return _levels.starts(of, list(learning), every=self.unfreeze_every, at_a_time=self.unfreeze_blocks)

    def _remarks(self, facts: Facts) -> list[str]:
        """What a user should know of the choice: what is new and stays as it was drawn, and what never begins."""
        chosen, new, told = self._chosen(facts.model), getattr(facts.model, NEW, ()), list[str]()
        learning = {name: p for name, p in facts.model.named_parameters() if name in chosen}
        random = [name for name, _ in facts.model.named_parameters() if name in new and name not in chosen]
        if random:
            more = f" and {len(random) - 1} more" if random[1:] else ""
            told.append(f"method.train: {random[0]}{more} are new, and stay random unless they learn too")
        begins = self._starts(facts.model, learning)
        never = [name for name in learning if begins[name] >= facts.num_epochs]
        if never and facts.num_epochs:
            told.append(
                f"method.unfreeze_every: the run has {facts.num_epochs:.3g} epochs, so {len(never)} of {len(learning)} "
                f"tensors never begin to learn; training.epochs={max(begins.values()) + 1} reaches all of them, or a "
                "larger method.unfreeze_blocks"
            )
        return told
