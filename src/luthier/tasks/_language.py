"""What every task that writes text shares: the loss of each supervised token, and how text is generated.

Only hidden states of supervised positions reach the head, and never so many of them at once that their logits would
fill the memory (`models/vocabulary.py`).
"""

from functools import partial
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from luthier.component import Component
from luthier.models import forward
from luthier.models.quiet import quiet
from luthier.models.vocabulary import Supervised, row_losses
from luthier.tasks import Loss
from luthier.tasks._tokens import IGNORED


class Generation(Component):
    """How an answer is written, token by token."""

    max_new_tokens: Annotated[int, Field(ge=1)] = 128
    """Most tokens of an answer."""
    num_beams: Annotated[int, Field(ge=1)] = 1
    """Beams that are followed; 1 is greedy, or sampling with a temperature."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 takes the likeliest token; above it tokens are drawn, the higher the freer."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Tokens are drawn from the likeliest that together have this probability."""
    length_penalty: float = 1.0
    """Beams: above 1 favours longer answers, below 1 shorter ones."""
    no_repeat_ngram: Annotated[int, Field(ge=0)] = 0
    """No sequence of this many tokens is written twice; 0 forbids none."""

    def arguments(self) -> dict[str, Any]:
        """The same, as `generate` takes it."""
        drawn = {"do_sample": True, "temperature": self.temperature, "top_p": self.top_p, "top_k": 0}
        beams = {"length_penalty": self.length_penalty, "early_stopping": True} if self.num_beams > 1 else {}
        return {
            "max_new_tokens": self.max_new_tokens,
            "num_beams": self.num_beams,
            "no_repeat_ngram_size": self.no_repeat_ngram,
            **(
                drawn
                if self.temperature > 0
                else {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
            ),
            **beams,
        }


def token_loss(
    model: PreTrainedModel,
    answer: ModelOutput,
    targets: Int[Tensor, "batch seq"],
    *,
    label_smoothing: float = 0.0,
) -> tuple[Loss, Float[Tensor, " batch"]]:
    """Each row's cross-entropy over its supervised tokens, and how many of them the model would have chosen too.

    `targets` holds at each position the token that its hidden state is to tell; IGNORED where none.
    """
    states = answer["last_hidden_state"]
    assert states.shape[:2] == targets.shape, "a hidden state for every target"
    places = supervised_places(targets)
    wanted = Supervised(targets.flatten().index_select(0, places), places // targets.shape[1], len(targets))
    total, hits = row_losses(
        partial(forward.logits_of, model, answer),
        states.flatten(0, 1).index_select(0, places),
        wanted,
        num_words=model.config.get_text_config(decoder=True).vocab_size,
        label_smoothing=label_smoothing,
    )
    return Loss(total, (targets != IGNORED).sum(-1).to(total.dtype)), hits


def supervised_places(targets: Int[Tensor, "batch seq"]) -> Int[Tensor, " tokens"]:
    """Where there is something to tell, counted over the whole batch; the one size that depends on the data."""
    return (targets.flatten() != IGNORED).nonzero()[:, 0]


def shifted(targets: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
    """Targets of a decoder: each position tells the token after it, the last one none."""
    return F.pad(targets[:, 1:], (0, 1), value=IGNORED)


@torch.inference_mode()
def generate(model: PreTrainedModel, inputs: dict[str, Tensor], generation: Generation, **more: Any) -> Tensor:
    """Token ids that `model.generate` gives for padded inputs, (batch, seq); its cache is on unless `more` says no."""
    arguments = {"pad_token_id": model.config.pad_token_id, "use_cache": True, **generation.arguments(), **more}
    write: Any = model.generate  # it calls an encoder by itself, which hears sound in its own arithmetic alone
    inputs = {name: value.to(model.dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    with quiet():
        written: Tensor = write(**inputs, **arguments)
    return written
