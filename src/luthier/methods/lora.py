"""LoRA: W x + (alpha / rank) B A x. Hu et al. 2021, https://arxiv.org/abs/2106.09685.

Rank-stabilised scaling is alpha / sqrt(rank): Kalajdzievski 2023, https://arxiv.org/abs/2312.03732. DoRA learns the
rows' lengths apart, m (W + scale B A) / |W + scale B A|: Liu et al. 2024, https://arxiv.org/abs/2402.09353. PiSSA
begins with the principal part of W: Meng et al. 2024, https://arxiv.org/abs/2404.02948. LoRA+ lets B learn faster:
Hayou et al. 2024, https://arxiv.org/abs/2402.12354. The files are PEFT's, read and written by `_peft_lora.py`.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.errors import MethodError
from luthier.methods import Group, Method, _peft_lora
from luthier.methods._low_rank import Update
from luthier.methods._new_rows import NewRows, fold_rows, hang_new_rows
from luthier.methods._parts import hang, parts_of, switched_off, take_down
from luthier.methods._starts import begin
from luthier.methods._whole import learn_whole
from luthier.models.heads import head_to_learn
from luthier.models.processor import Processor
from luthier.models.selectors import select, select_maps
from luthier.models.weights import set_plain_weight
from luthier.models.words import add_words, tied_with

Rank = Annotated[int, Field(gt=0)]
Alpha = Annotated[float, Field(gt=0)]


class Lora(Method):
    """A low-rank update beside chosen layers, and whatever of the head is new; the base stays frozen."""

    rank: Rank = 16
    """Rank of each update: 2 to 256; more learns more and costs more."""
    alpha: Alpha = 32.0
    """Scale of the updates: they are multiplied by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of an update's inputs that is dropped while training."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("all-linear",)
    """Layers that get an update, in the words of the selector language; `embedding` is the table of words."""
    ranks: dict[str, Rank] = {}
    """Other ranks for some of the targets, as in {attention: 4, feed-forward: 16}; the last that fits counts."""
    alphas: dict[str, Alpha] = {}
    """Other alphas for some of the targets, said in the same way."""
    bias: Literal["none", "all", "targets"] = "none"
    """Biases that learn too."""
    rank_stabilized: bool = False
    """Scale by alpha / sqrt(rank), so that high ranks learn as fast as low ones."""
    dora: bool = False
    """Learn the length of each row of a layer's map apart from its direction; slower, and meant for low ranks."""
    start: Literal["zero", "pissa"] = "zero"
    """What an update begins with: nothing, or the layer's principal singular vectors."""
    learning_rate_ratio: Annotated[float, Field(gt=0)] = 1.0
    """How many times faster B learns than A; LoRA+ takes 2 to 16, with a lower learning rate."""
    also_train: tuple[str, ...] = ()
    """Modules that learn as a whole beside the updates, as norm or embedding."""
    add_tokens: tuple[str, ...] = ()
    """Tokens whose rows of the table of words learn, and no others; those that the tokenizer lacks are added."""

    def scale(self, rank: int, alpha: float) -> float:
        """What B A is multiplied by."""
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)

    def learning_rate(self, facts: Facts) -> float:
        return 1e-3 if facts.num_parameters < 50e6 else 2e-4

    def extend(self, model: PreTrainedModel, processor: Processor) -> None:
        if self.add_tokens:
            add_words(model, processor, self.add_tokens, where="method.add_tokens")

    def apply(self, model: PreTrainedModel, *, generator: torch.Generator) -> None:
        model.requires_grad_(False)
        targets = select_maps(model, self.targets, where="method.targets")
        ranks = self._said(model, targets, self.ranks, "ranks")
        alphas = self._said(model, targets, self.alphas, "alphas")
        for name in targets:
            layer, rank = model.get_submodule(name), int(ranks.get(name, self.rank))
            update = Update.of(layer, rank, self.scale(rank, alphas.get(name, self.alpha)), self.dropout)
            begin(update, layer, self.start, generator=generator)
            if self.dora:
                update.decompose(layer)
            hang(layer, update)
        self._train_beside(model, targets)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()

    def _said(
        self, model: PreTrainedModel, targets: tuple[str, ...], said: Mapping[str, float], field: str
    ) -> dict[str, float]:
        """What was said of targets in a field, layer by layer."""
        values: dict[str, float] = {}
        for selector, value in said.items():
            meant = set(select_maps(model, (selector,), where=f"method.{field}")).intersection(targets)
            if not meant:
                raise MethodError(
                    f"method.{field}: {selector} selects none of method.targets: {', '.join(self.targets)}"
                )
            values |= dict.fromkeys(meant, value)
        return values

    def _train_beside(self, model: PreTrainedModel, targets: tuple[str, ...]) -> None:
        """Let learn what is no update: biases, what is new of the head, whole modules, the rows of new words."""
        names = set(head_to_learn(model, where="method"))
        if self.bias == "all":
            names.update(select(model, ("bias",), where="method.bias"))
        if self.bias == "targets":
            names.update(f"{name}.bias" for name in targets)
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if name in names:
                parameter.requires_grad_(True)
        if self.also_train:
            learn_whole(model, self.also_train, targets, where="method.also_train")
        if self.add_tokens:
            hang_new_rows(model, where="method.add_tokens")

    def groups(self, model: PreTrainedModel) -> list[Group]:
        if self.learning_rate_ratio == 1.0:
            return super().groups(model)
        fast = tuple(update.B for _, update in parts_of(model, Update))
        faster = Group(fast, learning_rate_scale=self.learning_rate_ratio)
        others = []
        for group in super().groups(model):
            rest = tuple(p for p in group.parameters if not any(p is B for B in fast))
            others += [replace(group, parameters=rest)] if rest else []
        return [*others, faster]

    @contextmanager
    def off(self, model: PreTrainedModel) -> Iterator[None]:
        """The frozen base with the learnt head; the updates are left out, and new words' rows are as they began."""
        for field, value in (("bias", self.bias), ("also_train", ", ".join(self.also_train) or "none")):
            if value != "none":
                said = f"lora with {field}={value}"
                raise MethodError(f"method: {said} changes the base model itself; it cannot be switched off")
        with switched_off(model, Update), switched_off(model, NewRows):
            yield

    @torch.no_grad()
    def fold(self, model: PreTrainedModel) -> None:
        updates = parts_of(model, Update)
        for layer, _ in updates:
            if len(tied := tied_with(model, layer.weight)) > 1:
                raise MethodError(
                    f"method.targets: {' and '.join(tied)} share one weight, and the update of one alone cannot be "
                    "folded into it; the adapter holds what was learnt"
                )
        for layer, update in updates:
            set_plain_weight(layer, update.folded(layer))
            take_down(layer, update)
        for layer, rows in parts_of(model, NewRows):
            fold_rows(layer, rows)
            take_down(layer, rows)

    @classmethod
    def read(cls, folder: Path) -> Self:
        return cls.model_validate(_peft_lora.read_settings(folder))

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        usual = _peft_lora.Usual(self.rank, self.alpha, self.rank_stabilized, doubled=self.start == "pissa")
        said = {"lora_dropout": self.dropout, "use_dora": self.dora, "bias": _peft_lora.BIASES[self.bias]}
        _peft_lora.save(model, folder, usual, said)

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        _peft_lora.load(model, folder)
