"""Prefix-tuning: softmax(Q [P_k; K]' / sqrt(width)) [P_v; V] in every attention unit, with learnt P_k and P_v.

Li & Liang 2021, https://arxiv.org/abs/2101.00190; without their network, and for every task: P-Tuning v2, Liu et al.
2021, https://arxiv.org/abs/2110.07602. The files are PEFT's where PEFT can say it (`_peft_prefix.py`).
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.errors import MethodError
from luthier.methods import Method, _peft_prefix
from luthier.methods._parts import hang, switched_off
from luthier.methods._prefix import Prefix as Part
from luthier.methods._prefix import Source
from luthier.methods._prefix_positions import shift
from luthier.methods._prefix_units import Which, heard, open_units, units_of
from luthier.methods._start_text import require_text, require_tokens, tokens_of
from luthier.models import flat
from luthier.models.heads import learn_head

SCALE = 0.02
"""Spread of random keys and values: so small that at first a prefix only damps what attention answers."""


class Prefix(Method):
    """Keys and values before every row's own, in each attention unit, and whatever of the head is new; the rest stays
    frozen."""

    length: Annotated[int, Field(gt=0)] = 20
    """Keys and values of each unit: 5 to 100; short for classification, longer for text that is written."""
    start: Literal["random", "text"] = "random"
    """What they are at first: small random numbers, or those of a text that the model reads."""
    text: str | None = None
    """The text of `start: text`, such as an instruction; it is repeated or cut to `length` tokens."""
    tokens: tuple[int, ...] = ()
    """The tokens of the text; filled in from it."""
    reparametrize: Annotated[int, Field(gt=0)] | None = None
    """Width of Li & Liang's network that makes keys and values while it trains, such as 512; null: there is none."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the numbers in keys and values that is dropped while training."""
    units: Which = "all"
    """Which units of an encoder-decoder: all, or decoder, where the decoder looks at itself, as PEFT has it."""
    positions: Literal["own", "shifted"] = "own"
    """Whether a row's first token stands at its own position, or, as PEFT counts, at `length`."""

    @model_validator(mode="after")
    def _start_is_whole(self) -> Self:
        require_text(self.start, self.text, self.tokens)
        if self.start == "text" and self.reparametrize is not None:
            raise ValueError("start: text sets keys and values themselves; leave reparametrize out")
        return self

    @property
    def positions_taken(self) -> int:
        return self.length if self.positions == "shifted" else 0

    def learning_rate(self, facts: Facts) -> float:
        return 1e-2 if facts.num_parameters < 50e6 else 5e-3

    def resolve(self, facts: Facts) -> Self:
        if self.text is None or self.tokens or facts.processor is None:
            return self
        return self.model_copy(update={"tokens": tokens_of(self.text, facts.processor, self.length)})

    def apply(self, model: PreTrainedModel, *, generator: torch.Generator) -> None:
        model.requires_grad_(False)
        learn_head(model, where="method")
        units = units_of(model, self.units)
        noted = open_units(model, units)
        parts = {name: Part(noted[unit], self.length, self.dropout) for name, unit in units.items()}
        self._start(model, units, parts, generator)
        for name, unit in units.items():
            hang(unit, parts[name])
        if self.positions == "shifted":
            shift(model, units)
        setattr(model, flat.NEVER, True)

    def _start(
        self,
        model: PreTrainedModel,
        units: dict[str, nn.Module],
        parts: dict[str, Part],
        generator: torch.Generator,
    ) -> None:
        """Give every part what it learns from on."""
        if self.start == "text":
            tokens = require_tokens(self.tokens, self.length)
            states = heard(model, tokens, before_a_row=self.positions == "own")
            for name, unit in units.items():
                key, value = states[unit]
                parts[name].start_at((key[0, :, : self.length], value[0, :, : self.length]))
        elif self.reparametrize is not None:
            words = model.get_input_embeddings()
            device = next(iter(parts.values())).device
            source = Source(self.length, self.reparametrize, device, generator)
            hang(words, source)
            for part in parts.values():
                part.make_of(source, generator)
        else:
            for part in parts.values():
                part.draw(SCALE, generator)

    def off(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        """The frozen base with the learnt head."""
        return switched_off(model, Part)

    def fold(self, model: PreTrainedModel) -> None:
        raise MethodError(
            "method: a prefix is no weight of the model, so it cannot be folded; keep adapter/, and open the run with "
            "luthier.load, or the folder with PEFT"
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        return cls.model_validate(_peft_prefix.read_settings(folder))

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        settings: dict[str, Any] = {"positions": self.positions, "units": self.units, "dropout": self.dropout}
        _peft_prefix.save(model, folder, settings)

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        _peft_prefix.load(model, folder)
