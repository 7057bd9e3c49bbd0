"""Tensors that are one and the same in the model, though files may hold them once, or twice, or under another name.

A head tied to the embedding is not in the file, or there with the same numbers. Where all models are tied, so is the
result, and the head is not written. Where one has a head of its own, the result has: tied models give their embedding.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from luthier.merging.parents.blocks import is_numbered
from luthier.merging.parents.checkpoint import Checkpoint

HEADS = (
    *("lm_head.weight", "embed_out.weight", "proj_out.weight", "output_projection.weight", "vocab_projector.weight"),
    *("generator_lm_head.weight", "lm_loss.weight", "predictions.decoder.weight", "lm_head.decoder.weight"),
    *("head.decoder.weight", "decoder.weight", "output_layer.weight", "output.weight", "head.weight"),
    *("pred_layer.proj.weight", "lm_head.out_proj.weight"),
)
"""How the names of heads end that may be tied to the input embedding."""
EMBEDDINGS = (
    *("shared.weight", "embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight"),
    *("tok_embeddings.weight", "embeddings.weight", "tokens_embed.weight", "word_embedding.weight"),
)
"""How the names of embeddings end, those first that others are copies of."""
COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
"""Of an encoder-decoder's shared embedding."""
FLAG_IS_OF_SCALES = ("t5", "mt5", "umt5", "longt5", "switch_transformers", "pix2struct_text_model", "udop")
"""Families whose `tie_word_embeddings` says whether scores are scaled, too, so that it must stay."""
STEP = 2**12
"""Rows that are compared at a time."""


@dataclass(frozen=True)
class Ties:
    """How several models' files are made alike."""

    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By label, names that a model's file lacks, and the names of the tensors that they are there; see `Renamed`."""
    dropped: frozenset[str] = frozenset()
    """Names that are not written, as they are tied in every model."""
    tied: bool | None = None
    """What the configuration must say of `tie_word_embeddings`; None: what it says."""


def tied_names(names: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Of the names that are wanted and could be tied, each with that of the tensor it would be tied to."""
    have = list(names)
    found = dict[str, str]()
    for name in wanted:
        source = _source(name, have)
        if source is not None and source != name:
            found[name] = source
    return found


def ties(checkpoints: Sequence[Checkpoint]) -> Ties:
    """What is tied in which of the models; numbers are compared only where a file has both."""
    wanted = list(dict.fromkeys(name for checkpoint in checkpoints for name in checkpoint.specs))
    could = {each.label: tied_names(each.specs, wanted) for each in checkpoints}
    names = [
        name
        for name in dict.fromkeys(name for found in could.values() for name in found)
        if all(_fits(each, name, could[each.label].get(name)) for each in checkpoints)
    ]
    aliases: dict[str, dict[str, str]] = {each.label: {} for each in checkpoints}
    dropped, is_tied = set[str](), list[bool]()
    for name in names:
        apart = [
            each for each in checkpoints if name in each.specs and not _same(each, name, could[each.label].get(name))
        ]
        if not apart:
            dropped.add(name)
        else:
            for each in checkpoints:
                if name not in each.specs and name in could[each.label]:
                    aliases[each.label][name] = could[each.label][name]
        if name.endswith(HEADS):
            is_tied.append(not apart)
    scaled = any(each.config.get("model_type") in FLAG_IS_OF_SCALES for each in checkpoints)
    return Ties(aliases, frozenset(dropped), None if scaled or not is_tied else all(is_tied))


def _source(name: str, have: Sequence[str]) -> str | None:
    if name.endswith(".decoder.bias"):
        plain = name.removesuffix("decoder.bias") + "bias"
        return plain if plain in have else None
    if name.endswith(COPIES):
        shared = name.removesuffix(next(each for each in COPIES if name.endswith(each))) + "shared.weight"
        return shared if shared in have else None
    if any(name == head or name.endswith(f".{head}") for head in HEADS) and not is_numbered(name):
        for ending in EMBEDDINGS:
            found = [each for each in have if f".{each}".endswith(f".{ending}") and not is_numbered(each)]
            if found:
                near = [each for each in found if "decoder." in each] or found
                return near[0]
    return None


def _fits(checkpoint: Checkpoint, name: str, source: str | None) -> bool:
    """Whether two tensors of a file could be one."""
    if name not in checkpoint.specs or source is None:
        return True
    return checkpoint.specs[name].shape == checkpoint.specs[source].shape


def _same(checkpoint: Checkpoint, name: str, source: str | None) -> bool:
    """Whether a file has a tensor twice, and nothing says that the two go apart from here."""
    if source is None or source not in checkpoint.specs or checkpoint.specs[name] != checkpoint.specs[source]:
        return False
    if name.endswith(HEADS) and checkpoint.config.get("tie_word_embeddings") is False:
        return False
    num = checkpoint.specs[name].shape[0]
    return all(
        torch.equal(checkpoint.read(name, row, row + STEP), checkpoint.read(source, row, row + STEP))
        for row in range(0, num, STEP)
    )
