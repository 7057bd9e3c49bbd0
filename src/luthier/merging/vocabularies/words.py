"""Which tensors of a model have a row for each token, by names and shapes: no model is built, no code imported."""

from collections.abc import Iterable, Mapping
from typing import Any

from luthier.merging.parents.blocks import is_numbered
from luthier.merging.parents.checkpoint import Spec

INPUTS = (
    *("embed_tokens", "wte", "word_embeddings", "tok_embeddings", "shared", "embed_in", "embeddings", "embedding"),
    *("tokens_embed", "word_embedding", "w"),
)
"""What families call the module that tokens' vectors are in, the common first."""
OUTPUTS = (
    *("lm_head", "embed_out", "proj_out", "output_projection", "vocab_projector", "generator_lm_head", "lm_loss"),
    *("decoder", "output_layer", "output", "head", "predictions", "pred_layer", "out_proj", "proj"),
)
"""And the module that makes scores of tokens; the less telling names count by their shape alone."""
COUNTS = ("vocab_size", "n_vocab", "padded_vocab_size")
"""What configurations call the number of rows."""
INNER = ("text_config", "llm_config", "language_config", "decoder", "text_encoder")
"""Where a model of several parts has the settings of the one that reads text."""


IN_A_BLOCK = ("embed_tokens", "lm_head", "head")
"""Those that blocks which predict several tokens ahead have, too."""


def num_rows(specs: Mapping[str, Spec], config: Mapping[str, Any]) -> int | None:
    """Rows of a model's embedding, as stored, or of its head where it reads no tokens; None where it has none."""
    name = embedding(specs, config)
    if name is None:
        counts = {(count,) for count in _counts(config)}
        heads = (each for each in specs if _module(each) in OUTPUTS[:7] and specs[each].shape[:1] in counts)
        name = next(heads, None)
    return None if name is None else specs[name].shape[0]


def embedding(specs: Mapping[str, Spec], config: Mapping[str, Any]) -> str | None:
    """The name of the input embedding: of those that are called so, one as long as the configuration says, or the
    longest, for rows may have been added that it does not know of."""
    counts = _counts(config)
    found = [
        name
        for name, spec in specs.items()
        if _module(name) in INPUTS and name.endswith(".weight") and len(spec.shape) == 2
    ]
    found = [name for name in found if not is_numbered(name)]
    known = [name for name in found if specs[name].shape[0] in counts]
    telling = [name for name in found if _module(name) in INPUTS[:6]]
    return next(iter(known or sorted(telling, key=lambda name: -specs[name].shape[0])), None)


def vocabulary_axes(specs: Mapping[str, Spec], config: Mapping[str, Any]) -> dict[str, int]:
    """By name, the axis that counts tokens, of every tensor that has one: as long as the embedding, and called so."""
    rows = num_rows(specs, config)
    if rows is None:
        return {}
    found = dict[str, int]()
    for name, spec in specs.items():
        if is_numbered(name) and _module(name) not in IN_A_BLOCK:
            continue
        if name.endswith("final_logits_bias") and spec.shape == (1, rows):
            found[name] = 1
        elif spec.shape[:1] == (rows,) and _module(name) in (*INPUTS, *OUTPUTS):
            found[name] = 0
    return found


def _module(name: str) -> str:
    """What a tensor's module is called, the last word left out."""
    return name.rpartition(".")[0].rpartition(".")[2]


def _counts(config: Mapping[str, Any]) -> set[int]:
    parts: Iterable[Any] = (config, *(config.get(word) for word in INNER))
    return {part[word] for part in parts if isinstance(part, Mapping) for word in COUNTS if word in part}
