"""A prefix in PEFT's folder: [length, 2 * layers * heads * width], a layer's key and then its value.

PEFT gives a prefix to the layers of one stack. In an encoder-decoder these are the decoder's, and there it lays the
tensor twice in a row and goes through it in steps of four: layer i gets entries 4i and 4i + 1, so that with an even
number of layers each is shared by two. What it cannot say is written under Luthier's own names; so is a prefix of a
model whose head PEFT has no word for, as it would pass over the prefix.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.methods import _peft, _peft_prompt
from luthier.methods._parts import parts_of, take_down
from luthier.methods._prefix import Pair, Prefix, Source

THEIRS, OURS = "PREFIX_TUNING", "LUTHIER_PREFIX"
"""How the two kinds of folder are called; PEFT reads the first."""


def save(model: PreTrainedModel, folder: Path, settings: Mapping[str, Any]) -> None:
    """Keys and values, and the head; `settings` are those that PEFT has no words for."""
    parts = _parts(model)
    with torch.no_grad():
        pairs = [part.plain() for part in parts.values()]
    packed, length = _packed(pairs, model), next(iter(parts.values())).length
    if packed is None:
        tensors = {f"{name}.{word}": t for name, pair in zip(parts, pairs, strict=True) for word, t in _named(pair)}
        config: dict[str, Any] = {"peft_type": OURS, "num_virtual_tokens": length}
    else:
        tensors, (heads, _, width) = {_peft_prompt.NAME: packed}, pairs[0][0].shape
        config = {
            "peft_type": THEIRS,
            "num_virtual_tokens": length,
            "num_layers": len(pairs),
            "num_attention_heads": heads,
            "token_dim": heads * width,
            "num_transformer_submodules": 2 if _is_twice(model) else 1,
            "prefix_projection": False,
        }
    config[_peft_prompt.OURS] = dict(settings)
    _peft_prompt.save(model, folder, tensors, config, _names(model))


def load(model: PreTrainedModel, folder: Path) -> None:
    """Read keys and values into the prefixes, which learn themselves from then on, and the head.

    Raises MethodError where the file holds something else.
    """
    parts = _parts(model)
    with torch.no_grad():
        empty = [tuple(torch.empty_like(t, device="cpu") for t in part.plain()) for part in parts.values()]
    if _peft_prompt.peft_type(folder) == OURS:
        places = {f"{name}.{word}": t for name, pair in zip(parts, empty, strict=True) for word, t in _named(pair)}
        _peft_prompt.load(model, folder, places, _names(model))
        pairs: list[Any] = empty
    else:
        key, _ = empty[0]
        packed = torch.empty(key.shape[1], 2 * len(parts) * key.shape[0] * key.shape[2])
        _peft_prompt.load(model, folder, {_peft_prompt.NAME: packed}, _names(model))
        pairs = _unpacked(packed, len(parts), key.shape[0], is_twice=_is_twice(model))
    for part, pair in zip(parts.values(), pairs, strict=True):
        part.start_at(pair)
    for layer, source in parts_of(model, Source):
        take_down(layer, source)


def read_settings(folder: Path) -> dict[str, Any]:
    """A prefix's settings, under our names.

    Raises MethodError where the folder is of another method.
    """
    ours = _peft_prompt.peft_type(folder) == OURS
    config = _peft.read_config(folder, OURS if ours else THEIRS)
    is_twice = config.get("num_transformer_submodules") == 2
    by_peft = {"positions": "shifted", "units": "decoder" if is_twice else "all"}
    return {"length": config["num_virtual_tokens"], **config.get(_peft_prompt.OURS, by_peft)}


def _parts(model: PreTrainedModel) -> dict[str, Prefix]:
    """Every prefix under the name of its unit."""
    return {name: part for name, unit in model.named_modules() for part in unit.children() if isinstance(part, Prefix)}


def _names(model: PreTrainedModel) -> set[str]:
    """The parameters of which the learnt keys and values are made."""
    kinds: tuple[type[nn.Module], ...] = (Prefix, Source)
    own = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    return {f"{name}.{leaf}" for name in own for leaf, _ in model.get_submodule(name).named_parameters()}


def _named(pair: Sequence[Tensor]) -> list[tuple[str, Tensor]]:
    return list(zip(("key", "value"), pair, strict=True))


def _is_twice(model: PreTrainedModel) -> bool:
    return bool(model.config.is_encoder_decoder)


def _entry(layer: int, num_layers: int, *, is_twice: bool) -> int:
    """Where a layer's key stands; its value is the next one."""
    return 4 * layer % (2 * num_layers) if is_twice else 2 * layer


def _packed(pairs: Sequence[Pair], model: PreTrainedModel) -> Float[Tensor, "length all"] | None:
    """PEFT's tensor; None where it would give a layer something else."""
    heads, length, width = pairs[0][0].shape
    is_uniform = all(t.shape == pairs[0][0].shape for pair in pairs for t in pair)
    is_twice, config, task = _is_twice(model), model.config, _peft.task_type(model)
    if not is_uniform or len(pairs) != getattr(config, "num_decoder_layers" if is_twice else "num_hidden_layers", None):
        return None
    if task is None or is_twice != (task == "SEQ_2_SEQ_LM"):
        return None
    entries = pairs[0][0].new_zeros(length, 2 * len(pairs), heads, width)
    for layer, pair in enumerate(pairs):
        for beside, t in enumerate(pair):
            entries[:, _entry(layer, len(pairs), is_twice=is_twice) + beside] = t.transpose(0, 1)
    packed = entries.flatten(1)
    again = _unpacked(packed, len(pairs), heads, is_twice=is_twice)
    same = all(
        torch.equal(a, b) for one, other in zip(again, pairs, strict=True) for a, b in zip(one, other, strict=True)
    )
    return packed if same else None


def _unpacked(packed: Tensor, num_layers: int, heads: int, *, is_twice: bool) -> list[Pair]:
    entries = packed.view(len(packed), 2 * num_layers, heads, -1).permute(1, 2, 0, 3)
    firsts = [_entry(layer, num_layers, is_twice=is_twice) for layer in range(num_layers)]
    return [(entries[first], entries[first + 1]) for first in firsts]
