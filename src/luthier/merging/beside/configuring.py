"""config.json of a merged model: the reference's, with what the merge changed of it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.errors import MergeError
from luthier.merging.vocabularies.words import COUNTS, INNER

BLOCKS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
"""What configurations call the number of blocks, where there is one stack."""
OF_ENCODER = ("encoder_layers", "num_encoder_layers", "num_layers")
OF_DECODER = ("decoder_layers", "num_decoder_layers")
NOT_TOLD = ("_name_or_path", "auto_map", "name_or_path")
"""Of the machine it was written on, or of code."""
NUMBERS_OF_BLOCKS = (
    *("mlp_only_layers", "cross_attention_layers", "full_attn_idxs", "attn_layer_indices", "moe_layer_indices"),
    *("global_attention_layers", "hybrid_layer_ids"),
)
"""Lists of the blocks that are of some kind."""
_OF_EACH_BLOCK = re.compile("layer|block|pattern|types?$|attn|attention|heads|intermediate_size|multipliers|sliding")
"""In the names of lists with an entry for each block."""
PERIODS = (
    *("first_k_dense_replace", "attn_layer_period", "expert_layer_period", "moe_layer_freq", "decoder_sparse_step"),
    *("interleave_moe_layer_step", "full_attention_interval", "global_attn_every_n_layers", "num_kv_shared_layers"),
)
"""Numbers from which a model computes what each block is, so that a block that moves may become another."""


def merged_config(
    reference: Mapping[str, Any],
    *,
    dtype: str | None = None,
    num_rows: int | None = None,
    tied: bool | None = None,
    stacked: Mapping[str, Sequence[int]] | None = None,
    tokens_of: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """The configuration, and what a user should know of it.

    `num_rows` is the size of the vocabulary; `stacked` says, by what the names of a stack's blocks begin with, which
    block each one was; `tokens_of` is the configuration of the model whose tokenizer is taken, where it is another's.
    None leaves things as they are. Raises MergeError where weights are quantised.
    """
    if "quantization_config" in reference:
        raise MergeError(
            "the model's weights are quantised, which cannot be merged; dequantise it, or take its original"
        )
    config = {name: value for name, value in reference.items() if name not in NOT_TOLD}
    for word in INNER:
        if isinstance(config.get(word), Mapping):
            config[word] = {name: value for name, value in config[word].items() if name not in NOT_TOLD}
    parts = [config, *(config[word] for word in INNER if isinstance(config.get(word), dict))]
    if dtype is not None:
        _set(parts, ("dtype", "torch_dtype"), dtype, config, "torch_dtype")
    if num_rows is not None:
        _set(parts, COUNTS, num_rows, parts[-1], "vocab_size")
        if config.get("decoder_vocab_size") == reference.get("vocab_size"):
            _set([config], ("decoder_vocab_size",), num_rows, None, "")
    if tied is not None:
        _set(parts, ("tie_word_embeddings",), tied, config, "tie_word_embeddings")
        config["tie_word_embeddings"] = tied
    if tokens_of is not None:
        _take_token_numbers(parts, tokens_of)
    notes = list[str]()
    for prefix, numbers in (stacked or {}).items():
        notes += _stack(parts, prefix, numbers)
    return config, notes


def _set(
    parts: Sequence[dict[str, Any]], words: Sequence[str], value: object, default: dict[str, Any] | None, word: str
) -> None:
    """Wherever one of the words stands; else in the part that is given for it."""
    places = [(part, name) for part in parts for name in words if name in part]
    for part, name in places:
        part[name] = value
    if not places and default is not None:
        default[word] = value


def _take_token_numbers(parts: Sequence[dict[str, Any]], donor: Mapping[str, Any]) -> None:
    donors = [donor, *(donor[word] for word in INNER if isinstance(donor.get(word), Mapping))]
    theirs = {name: value for part in reversed(donors) for name, value in part.items() if is_token_number(name)}
    for part in parts:
        for name in [name for name in part if is_token_number(name)]:
            if name in theirs:
                part[name] = theirs[name]
    parts[0].update({name: value for name, value in theirs.items() if not any(name in part for part in parts)})


def is_token_number(name: str) -> bool:
    """Whether a setting is the number of a token, such as the one that ends a text."""
    return name.endswith(("_token_id", "_token_ids"))


def _stack(parts: Sequence[dict[str, Any]], prefix: str, numbers: Sequence[int]) -> list[str]:
    """Write one stack's number of blocks and what it says of each."""
    words = _words(parts, prefix)
    part = next((part for part in parts if any(word in part for word in words)), None)
    if part is None:
        return [f"config.json has no number of blocks; it must say that {prefix} has {len(numbers)}"]
    before = part[next(word for word in words if word in part)]
    for name, value in list(part.items()):
        if name in words or (name == "num_hidden_layers" and value == before and words is OF_ENCODER):
            part[name] = len(numbers)
        elif words is not BLOCKS and ("decoder" in name) is not (words is OF_DECODER):
            continue
        elif name in NUMBERS_OF_BLOCKS and isinstance(value, list):
            part[name] = [place for place, number in enumerate(numbers) if number in value]
        elif isinstance(value, list | str) and len(value) == before and _tells_of_blocks(name, value):
            chosen = [value[number] for number in numbers if number < before]
            part[name] = "".join(chosen) if isinstance(value, str) else chosen
    if isinstance(part.get("attention_layers"), list) and "attention_types" in part:
        part["attention_types"] = [[part["attention_layers"], 1]]
    periods = [name for name in PERIODS if part.get(name) not in (None, 0, 1, False) and "layer_types" not in part]
    moved = list(numbers) != list(range(len(numbers)))
    return [f"config.json: {name} says what each block is by its number, and blocks moved" for name in periods if moved]


def _words(parts: Sequence[dict[str, Any]], prefix: str) -> Sequence[str]:
    """What this stack's number of blocks may be called."""
    is_double = any(word in part for part in parts for word in OF_DECODER)
    if not is_double:
        return BLOCKS
    return OF_DECODER if "decoder" in prefix else OF_ENCODER


def _tells_of_blocks(name: str, value: list[Any] | str) -> bool:
    if is_token_number(name) or name == "model_type":
        return False
    return name == "hybrid_override_pattern" if isinstance(value, str) else bool(_OF_EACH_BLOCK.search(name))
