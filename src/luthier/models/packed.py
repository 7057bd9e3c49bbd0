"""Several examples in one row of a decoder, none of which sees another.

transformers recognises them by positions that begin again at 0, provided that the model gets no attention mask and
keeps no cache: with either, they see each other and nothing is said. Some families never recognise them. So no table
says who does; the model itself is tried.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.errors import ModelError
from luthier.models.resting import resting

Examples = Sequence[Sequence[int] | Int[ndarray, " tokens"]]
"""Token ids of each."""
PROBED = (7, 5, 9)
"""Tokens of the random examples that a model is tried with."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 5e-2}
"""Largest relative difference that is rounding, by how weights are held."""


def packed_inputs(examples: Examples) -> dict[str, Int[ndarray, " seq"]]:
    """A row of several examples, given by their token ids: `input_ids`, and `position_ids` that begin again with each.

    In a batch, pad both with any token at position 0: each padded position is then an example of its own. The model
    must get neither an attention mask nor a cache (`use_cache=False`, in the call or in its configuration).
    """
    return {
        "input_ids": np.concatenate([np.asarray(ids) for ids in examples]),
        "position_ids": np.concatenate([np.arange(len(ids)) for ids in examples]),
    }


def require_packing(model: PreTrainedModel) -> None:
    """Raise ModelError where examples that share a row see each other."""
    if not can_pack(model):
        raise ModelError(
            f"task.packing: {model.config.model_type} with {model.config._attn_implementation} attention lets examples "
            "that share a row see each other; say task.packing=false"
        )


def can_pack(model: PreTrainedModel) -> bool:
    """Whether each of some random examples that share a row gets the logits that it gets alone, and sees no other.

    The model is tried, and left as it was found.
    """
    random, embeddings = np.random.default_rng(0), cast(nn.Embedding, model.get_input_embeddings())
    examples = [random.integers(embeddings.num_embeddings, size=length) for length in PROBED]
    tolerance = TOLERANCE.get(model.dtype, TOLERANCE[torch.float32])
    with resting(model.modules()):
        try:
            return _see_nothing_before(model, examples) and _difference(model, examples) <= tolerance
        except TypeError:  # it takes no positions
            return False


def _see_nothing_before(model: PreTrainedModel, examples: Examples) -> bool:
    """Whether the last example's logits have no gradient at all with respect to the tokens before it.

    What is masked has a gradient of exactly 0 in every arithmetic, so no tolerance hides a faint glance.
    """
    embedded: list[Tensor] = []

    def note(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1].clone()  # some scale it where it stands

    handle = model.get_input_embeddings().register_forward_hook(note)
    try:
        with torch.enable_grad():
            last = _logits(model, examples)[-PROBED[-1] :]
            (gradient,) = torch.autograd.grad(last.square().sum(), embedded[0])
    finally:
        handle.remove()
    before = gradient.flatten(end_dim=-2)[: -PROBED[-1]]
    return not before.any()


def _difference(model: PreTrainedModel, examples: Examples) -> float:
    """Relative difference between the logits of packed examples and those of each alone."""
    with torch.no_grad():
        packed = _logits(model, examples)
        alone = torch.cat([_logits(model, [example]) for example in examples])
    return float((packed - alone).norm() / alone.norm())


def _logits(model: PreTrainedModel, examples: Examples) -> Float[Tensor, "seq vocab"]:
    inputs = {name: torch.from_numpy(ids)[None].to(model.device) for name, ids in packed_inputs(examples).items()}
    logits: Tensor = model(**inputs, use_cache=False).logits[0]
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
