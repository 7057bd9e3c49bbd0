"""Prompt tuning: embeddings that no word has, [P; E(x)], are learnt before every row; the model stays frozen.

Lester et al. 2021, https://arxiv.org/abs/2104.08691. The files are PEFT's, `prompt_embeddings` of (length, width).
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, cast

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.errors import MethodError
from luthier.methods import Method, _peft, _peft_prompt
from luthier.methods._parts import hang, parts_of, switched_off
from luthier.methods._prompt import Place, body_of, place_in
from luthier.methods._prompt import Prompt as Part
from luthier.methods._start_text import require_text, require_tokens, tokens_of
from luthier.models.heads import learn_head
from luthier.models.prompted import prompt

THEIRS, OURS = "PROMPT_TUNING", "LUTHIER_PROMPT"
"""How the two kinds of folder are called; PEFT reads the first."""


class Prompt(Method):
    """Embeddings before every row, and whatever of the head is new; the rest stays frozen."""

    takes_packed_rows: ClassVar[bool] = False

    length: Annotated[int, Field(gt=0)] = 20
    """Embeddings of the prompt: 5 to 100; they shorten the rows that a model with a limit can read."""
    start: Literal["random", "vocabulary", "text"] = "vocabulary"
    """What they are at first: random numbers as wide as words, words drawn from the vocabulary, or those of a text."""
    text: str | None = None
    """The text of `start: text`, such as an instruction; it is repeated or cut to `length` tokens."""
    tokens: tuple[int, ...] = ()
    """The tokens of the text; filled in from it."""
    place: Place = "auto"
    """Where they stand: before, as PEFT puts them, or after-first, behind an encoder's [CLS], which poolers read. auto:
    after-first in an encoder, else before."""

    @model_validator(mode="after")
    def _start_is_whole(self) -> Self:
        require_text(self.start, self.text, self.tokens)
        return self

    @property
    def positions_taken(self) -> int:
        return self.length

    def learning_rate(self, facts: Facts) -> float:
        return 1e-2 if facts.num_parameters < 50e6 else 5e-3

    def resolve(self, facts: Facts) -> Self:
        changed: dict[str, Any] = {}
        if self.text is not None and not self.tokens and facts.processor is not None:
            changed["tokens"] = tokens_of(self.text, facts.processor, self.length)
        if self.place == "auto" and facts.model is not None:
            changed["place"] = "after-first" if place_in(facts.model, "auto") else "before"
        return self.model_copy(update=changed)

    def apply(self, model: PreTrainedModel, *, generator: torch.Generator) -> None:
        model.requires_grad_(False)
        learn_head(model, where="method")
        body, place = body_of(model), place_in(model, self.place)
        if place and model.config.is_encoder_decoder:
            raise MethodError("method.place: after-first is for encoders; say before")
        words = cast(nn.Embedding, body.get_input_embeddings())
        part = Part(self._start(words, generator), place)
        hang(words, part)
        prompt(model, body, part)

    @torch.no_grad()
    def _start(self, words: nn.Embedding, generator: torch.Generator) -> Float[Tensor, "length width"]:
        """What the embeddings are before they learn."""
        device = words.weight.device
        if self.start == "text":
            ids = torch.tensor(require_tokens(self.tokens, self.length), device=device)
        else:
            ids = torch.randint(words.num_embeddings, (self.length,), generator=generator).to(device)
        drawn: Tensor = words(ids).float()
        if self.start != "random":
            return drawn
        noise = torch.empty(drawn.shape, device="cpu").normal_(generator=generator).to(device)
        return noise * drawn.std()

    def off(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        """The frozen base with the learnt head."""
        return switched_off(model, Part)

    def fold(self, model: PreTrainedModel) -> None:
        raise MethodError(
            "method: a prompt is no weight of the model, so it cannot be folded; keep adapter/, and open the run with "
            "luthier.load, or the folder with PEFT"
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        ours = _peft_prompt.peft_type(folder) == OURS
        config = _peft.read_config(folder, OURS if ours else THEIRS)
        said = config.get(_peft_prompt.OURS, {"place": "before"})
        return cls.model_validate({"length": config["num_virtual_tokens"], **said})

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        (part,) = (part for _, part in parts_of(model, Part))
        place = "after-first" if part.place else "before"
        config = {
            # PEFT passes over a prompt where it has no word for the head.
            "peft_type": THEIRS if _peft.task_type(model) else OURS,
            "num_virtual_tokens": part.length,
            "token_dim": part.vectors.shape[1],
            "num_transformer_submodules": 1,
            "prompt_tuning_init": "RANDOM",
            _peft_prompt.OURS: {"place": place},
        }
        _peft_prompt.save(model, folder, {_peft_prompt.NAME: part.vectors}, config, _names(model))

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        (part,) = (part for _, part in parts_of(model, Part))
        rows, width = part.vectors.shape
        # In an encoder-decoder PEFT keeps as many again for the decoder, which never get there.
        kept = 2 * rows if _peft_prompt.shape_of(folder) == (2 * rows, width) else rows
        vectors = torch.empty(kept, width)
        _peft_prompt.load(model, folder, {_peft_prompt.NAME: vectors}, _names(model))
        with torch.no_grad():
            part.vectors.copy_(vectors[:rows])


def _names(model: PreTrainedModel) -> set[str]:
    """The names of what is learnt apart from the head."""
    parts = {part.vectors for _, part in parts_of(model, Part)}
    return {name for name, parameter in model.named_parameters() if parameter in parts}
