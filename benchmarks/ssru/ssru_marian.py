"""Marian whose decoder remembers by a simpler simple recurrent unit (SSRU) in place of self-attention.

    c_t = f_t * c_(t-1) + (1 - f_t) * W x_t,    f_t = sigmoid(W_f x_t + b_f),    out_t = relu(c_t)

Kim et al. 2019, "From Research to Production and Back: Ludicrously Fast Neural Machine Translation",
https://aclanthology.org/D19-5632. The small models of Bergamot and Firefox Translations are built so. Importing this
module registers `ssru-marian` with the Auto classes of transformers; as the entry point `luthier.models`, Luthier
does it before it loads a model.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, Cache, EncoderDecoderCache, MarianConfig, MarianMTModel


class SSRUMarianConfig(MarianConfig):
    """Marian's settings; the decoder's self-attention heads mean nothing."""

    model_type = "ssru-marian"


class SSRU(nn.Module):
    """Takes the place of self-attention in a decoder layer, mask and all: it cannot look ahead."""

    def __init__(self, width: int, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.candidate = nn.Linear(width, width, bias=False)
        self.forget = nn.Linear(width, width)

    def forward(
        self, hidden_states: Float[Tensor, "batch seq width"], past_key_values: Cache | None = None, **_: Any
    ) -> tuple[Float[Tensor, "batch seq width"], None]:
        """Outputs, and no attention weights."""
        candidate, forget = self.candidate(hidden_states), torch.sigmoid(self.forget(hidden_states))
        cache = past_key_values.self_attention_cache if isinstance(past_key_values, EncoderDecoderCache) else None
        states = recur(candidate, forget, self._last_state(cache))
        if cache is not None:
            # Kept as keys, one a position, as transformers counts, reorders and crops them; there are no values.
            cache.update(states[:, None], states[:, None, :, :0], self.layer)
        return torch.relu(states), None

    def _last_state(self, cache: Cache | None) -> Float[Tensor, "batch width"] | None:
        if cache is None or cache.get_seq_length(self.layer) == 0:
            return None
        layer: Any = cache.layers[self.layer]
        last: Tensor = layer.keys[:, 0, -1]
        return last


def recur(
    candidate: Float[Tensor, "batch seq width"],
    forget: Float[Tensor, "batch seq width"],
    state: Float[Tensor, "batch width"] | None = None,
) -> Float[Tensor, "batch seq width"]:
    """Every state, from the one before the first (zero where there is none)."""
    state = torch.zeros_like(candidate[:, 0]) if state is None else state
    states = []
    for new, kept in zip(candidate.unbind(1), forget.unbind(1), strict=True):
        state = torch.lerp(new, state, kept)  # kept * state + (1 - kept) * new, in one pass
        states.append(state)
    return torch.stack(states, 1)


class SSRUMarianMTModel(MarianMTModel):
    """Marian with an SSRU in each decoder layer."""

    config_class = SSRUMarianConfig

    def __init__(self, config: SSRUMarianConfig) -> None:
        super().__init__(config)
        for number, layer in enumerate(self.model.decoder.layers):
            layer.self_attn = SSRU(config.d_model, number)
        self.post_init()  # type: ignore[no-untyped-call]


AutoConfig.register(SSRUMarianConfig.model_type, SSRUMarianConfig)
AutoModelForSeq2SeqLM.register(SSRUMarianConfig, SSRUMarianMTModel)
