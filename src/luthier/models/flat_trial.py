"""Whether a model takes rows that lie flat: it is tried with random ones, against what it says to padded ones."""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.models import flat, forward
from luthier.models.resting import resting

LENGTHS = (9, 5, 7)
"""Tokens of the random rows that a model is tried with."""
ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 5e-2}
"""Largest relative difference of states that is rounding, by how weights are held; tokens at wrong positions, or that
see other rows, make one of 0.2 and more."""
TIMES_IN_GRADIENTS = 5
"""Rounding grows on its way back through all blocks: SmolLM2's 30, held in bf16, make 0.07 of it."""


def lay_flat(model: PreTrainedModel) -> bool:
    """Have the model's rows laid flat from now on, if it takes them: hidden states and gradients stay the same.

    The model is left as it was found, but for the note of where positions begin.
    """
    if not flat.may_take(model):
        return False
    padding: int = getattr(model.config, "pad_token_id", None) or 0
    for first in (0, padding + 1):
        if _is_same(model, first):
            setattr(model, flat.FIRST_POSITION, first)
            return True
    return False


class Verdicts:
    """Lays models flat, of which those that are built alike, on the same base, are tried once."""

    def __init__(self) -> None:
        self._firsts: dict[Hashable, int | None] = {}

    def lay_flat(self, model: PreTrainedModel, base: Hashable) -> bool:
        """As `lay_flat`; `base` says what the model's own weights are, and what was done to it beside its modules."""
        if not flat.may_take(model):
            return False
        structure = tuple((name, type(module)) for name, module in model.named_modules())
        key = (base, model.dtype, structure)
        if key not in self._firsts:
            lay_flat(model)
            self._firsts[key] = getattr(model, flat.FIRST_POSITION, None)
        elif self._firsts[key] is not None:
            setattr(model, flat.FIRST_POSITION, self._firsts[key])
        return self._firsts[key] is not None


def _is_same(model: PreTrainedModel, first: int) -> bool:
    """Whether flat rows whose positions begin at `first` get the states and gradients of padded ones."""
    num_words = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    ids = torch.randint(3, num_words, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    try:
        with resting(model.modules()), _first_position(model, None):
            padded = _told(model, ids, mask)
            with _first_position(model, first):
                laid = _told(model, ids, mask)
    except Exception:  # whatever it cannot do with them, it goes on with padded rows
        return False
    (*states, gradient), (*their_states, their_gradient) = laid, padded
    rounding = ROUNDING.get(model.dtype, max(ROUNDING.values()))
    is_same = all(_difference(*pair) <= rounding for pair in zip(states, their_states, strict=True))
    return is_same and _difference(gradient, their_gradient) <= TIMES_IN_GRADIENTS * rounding


def _told(
    model: PreTrainedModel, ids: Int[Tensor, "batch seq"], mask: Bool[Tensor, "batch seq"]
) -> tuple[Float[Tensor, "tokens width"], ...]:
    """What a model says of real tokens: their states, what a pooler makes of them, and gradients at the embeddings."""
    embedded: list[Tensor] = []

    def note(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1].clone()  # some scale it where it stands

    handle = model.get_input_embeddings().register_forward_hook(note)
    inputs = {"input_ids": ids.to(model.device), "attention_mask": mask.long().to(model.device)}
    try:
        with torch.enable_grad():
            answer = forward.hidden(model, inputs)
            states = answer["last_hidden_state"][mask].float()
            parts = [states, *([answer["pooler_output"].float()] if "pooler_output" in answer else [])]
            weights = torch.cos(torch.arange(states.numel(), device=states.device).float()).view_as(states)
            summed = sum(((part * weights[: len(part)]).sum() for part in parts), states.new_zeros(()))
            (gradient,) = torch.autograd.grad(summed, embedded[0])
    finally:
        handle.remove()
    gradient = gradient[mask] if gradient.shape[:2] == mask.shape else gradient[0]
    return *(part.detach() for part in parts), gradient.float()


@contextmanager
def _first_position(model: PreTrainedModel, first: int | None) -> Iterator[None]:
    before = getattr(model, flat.FIRST_POSITION, None)
    setattr(model, flat.FIRST_POSITION, first)
    try:
        yield
    finally:
        setattr(model, flat.FIRST_POSITION, before)


def _difference(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())
