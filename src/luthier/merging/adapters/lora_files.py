"""LoRA's folders as tensors, without a model: W + scale B A. Hu et al. 2021, https://arxiv.org/abs/2106.09685.

Scale is alpha / rank, or alpha / sqrt(rank) where it is rank-stabilised. The files are PEFT's; what Luthier writes has
`luthier.json` beside them.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from luthier import files
from luthier.errors import MergeError, MethodError
from luthier.methods import ABOUT_FILE, read_json
from luthier.methods._peft import CONFIG, PREFIX, WEIGHTS
from luthier.methods._peft_lora import HARMLESS_STARTS, UNREAD
from luthier.methods.lora import Lora

WHERE_ONLY = ("layers_to_transform", "exclude_modules")
"""Of the settings that Luthier does not read, those that choose layers: here the tensors' names say which they are."""
NOT_MERGED = {
    **{name: "" for name in UNREAD if name not in WHERE_ONLY},
    "use_dora": " (DoRA's lengths of rows do not add up)",
    "trainable_token_indices": " (rows of new tokens)",
}
"""Settings that make an adapter more than W + scale B A, and why."""
COPIES = (".original_module.", ".modules_to_save.")
"""In names of tensors that PEFT writes twice more beside the plain one."""
LINEAR, EMBEDDING = ("lora_A.weight", "lora_B.weight"), ("lora_embedding_A", "lora_embedding_B")
"""How names of the two factors end."""


USUAL = 8
"""PEFT's rank and alpha where a file says none."""
BLOCK_ROWS = 128
"""Of a product, computed at once."""


@dataclass(frozen=True)
class Factors:
    """One layer's update, scale B A; of an embedding's table it is the transpose of that."""

    A: Float[Tensor, "rank width_in"]
    B: Float[Tensor, "width_out rank"]
    scale: float = 1.0
    is_embedding: bool = False

    @property
    def rank(self) -> int:
        return len(self.A)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the product: width_out, width_in."""
        return len(self.B), self.A.shape[1]

    def rows(self, start: int = 0, stop: int | None = None) -> Float[Tensor, "rows width_in"]:
        """Rows of the product, in fp32."""
        return product_rows(self.B.float() * self.scale, self.A.float(), start, stop)

    def scaled(self, factor: float) -> "Factors":
        """The same factors, times a number."""
        return Factors(self.A, self.B, self.scale * factor, self.is_embedding)


@dataclass(frozen=True)
class Adapter:
    """A LoRA: the updates by the names of their layers, and whatever else was learnt as a whole."""

    label: str
    layers: Mapping[str, Factors]
    whole: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors that take the place of the base's: heads, other modules that learnt whole, biases."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """PEFT's, of what is no update: name and kind of the base, modules that learnt whole."""
    base: Mapping[str, Any] = field(default_factory=dict)
    """Luthier's name and fingerprint of the base, where they are known."""


KEPT = ("base_model_name_or_path", "task_type", "fan_in_fan_out", "modules_to_save", "bias")
"""The settings of an adapter that do not follow from its tensors."""


def read_lora(folder: Path, label: str | None = None) -> Adapter:
    """The adapter in a folder, or in `adapter/` of a run's folder.

    Raises MergeError where there is none, or where it is more than a plain LoRA.
    """
    if not (folder / CONFIG).is_file() and (folder / "adapter" / CONFIG).is_file():
        folder = folder / "adapter"
    try:
        config = read_json(folder / CONFIG)
        base = read_json(folder / ABOUT_FILE).get("base") if (folder / ABOUT_FILE).is_file() else None
    except MethodError as error:
        raise MergeError(str(error)) from None
    _require_plain(config, folder)
    tensors = _tensors(folder)
    layers = dict(_layers(config, tensors, folder))
    if not layers:
        raise MergeError(f"{folder / WEIGHTS}: holds no factors of a LoRA")
    whole = dict(_whole(config, tensors, layers, folder))
    settings = {name: config[name] for name in KEPT if config.get(name)}
    return Adapter(label or folder.name, layers, whole, settings, base or {})


def product_rows(
    left: Float[Tensor, "rows rank"], right: Float[Tensor, "rank width"], start: int = 0, stop: int | None = None
) -> Float[Tensor, "part width"]:
    """Rows of a product, in the same blocks whichever are asked for: else their last bits would depend on that."""
    start, stop, _ = slice(start, stop).indices(len(left))
    if start >= stop:
        return left.new_zeros(0, right.shape[1])
    first = start - start % BLOCK_ROWS
    found = torch.cat([left[row : row + BLOCK_ROWS] @ right for row in range(first, stop, BLOCK_ROWS)])
    return found[start - first : stop - first]


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Raise MergeError where a folder is there, unless it may be overwritten and holds an adapter or nothing."""
    if not folder.exists():
        return
    if not overwrite:
        raise MergeError(f"{folder}: is there already; name another folder, or say that it may be overwritten")
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / CONFIG).is_file()):
        raise MergeError(
            f"{folder}: holds something else than an adapter, so it is not overwritten; name another folder"
        )


def write_lora(adapter: Adapter, folder: Path, *, overwrite: bool = False) -> None:
    """Write a folder that PEFT and Luthier load; it appears whole or not at all.

    Raises MergeError where it is there already, unless that is an adapter that may be overwritten.
    """
    require_free(folder, overwrite=overwrite)
    plain = {name: _positive(factors) for name, factors in adapter.layers.items()}
    tensors = {f"{PREFIX}{_stored(name, plain)}": tensor.detach() for name, tensor in adapter.whole.items()}
    for name, factors in plain.items():
        ends = EMBEDDING if factors.is_embedding else LINEAR
        tensors |= {f"{PREFIX}{name}.{ends[0]}": factors.A, f"{PREFIX}{name}.{ends[1]}": factors.B}
    config = {
        **dict.fromkeys(("base_model_name_or_path", "task_type", "modules_to_save")),
        **{"peft_type": "LORA", "inference_mode": True, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False},
        **adapter.settings,
        "target_modules": list(plain),
        **_ranks_and_alphas(plain),
    }
    with files.new_folder(folder) as beside:
        # safetensors takes no two names of one memory
        save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, beside / WEIGHTS)
        (beside / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        if adapter.base:
            Lora.read(beside).tell(beside, str(adapter.base.get("name")), adapter.base.get("sha256"))


def _require_plain(config: Mapping[str, Any], folder: Path) -> None:
    where = folder / CONFIG
    if (found := config.get("peft_type")) != "LORA":
        raise MergeError(f"{where}: peft_type is {found}; only LORA can be merged as an adapter, others once folded")
    if odd := [name for name in NOT_MERGED if config.get(name)]:
        raise MergeError(
            f"{where}: {odd[0]} is in use{NOT_MERGED[odd[0]]}, so this is no plain LoRA; fold it into its base and "
            "merge the models"
        )
    if (start := config.get("init_lora_weights", True)) not in HARMLESS_STARTS:
        raise MergeError(
            f"{where}: init_lora_weights {start} changes the base itself; convert it to a plain LoRA first"
        )


def _tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        pickled = folder / "adapter_model.bin"
        then = "; adapter_model.bin is a pickle, load and save it once with PEFT" if pickled.is_file() else ""
        raise MergeError(f"{folder}: holds no {WEIGHTS}{then}")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise MergeError(f"{path}: cannot be read: {error}; fetch it again") from None


def _layers(config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> Iterator[tuple[str, Factors]]:
    for key in tensors:
        ends = next((ends for ends in (LINEAR, EMBEDDING) if key.endswith(f".{ends[0]}")), None)
        if ends is None:
            continue
        A, other = tensors[key], key.removesuffix(ends[0]) + ends[1]
        name = key.removeprefix(PREFIX).removesuffix(f".{ends[0]}")
        B = tensors.get(other)
        rank, scale = _rank_and_scale(config, name, folder)
        if B is None or A.dim() != 2 or B.dim() != 2 or not len(A) == B.shape[1] == rank:
            shapes = "none" if B is None else f"{tuple(B.shape)}"
            raise MergeError(
                f"{folder / WEIGHTS}: {name} has factors of shapes {tuple(A.shape)} and {shapes}, which are no "
                f"matrices of rank {rank}; only updates of linear layers and embeddings can be merged"
            )
        if not (A.isfinite().all() and B.isfinite().all()):
            raise MergeError(f"{folder / WEIGHTS}: {name} holds numbers that are not finite; its training went wrong")
        yield name, Factors(A, B, scale, ends is EMBEDDING)


def _rank_and_scale(config: Mapping[str, Any], name: str, folder: Path) -> tuple[int, float]:
    try:
        rank = int(_said(config.get("rank_pattern"), name, config.get("r", USUAL)))
        alpha = float(_said(config.get("alpha_pattern"), name, config.get("lora_alpha", USUAL)))
        return rank, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    except (TypeError, ValueError, AttributeError, ArithmeticError, re.error) as error:
        raise MergeError(f"{folder / CONFIG}: says no rank and alpha of {name} that can be read: {error}") from None


def _said(pattern: Mapping[str, Any] | None, name: str, usual: Any) -> Any:
    """The value of the first pattern that fits a layer's name."""
    return next((value for key, value in (pattern or {}).items() if re.match(rf"(.*\.)?({key})$", name)), usual)


def _whole(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], layers: Mapping[str, Factors], folder: Path
) -> Iterator[tuple[str, Tensor]]:
    saved = config.get("modules_to_save") or ()
    biases = config.get("bias", "none") != "none"
    bases = {f"{name}.base_layer.weight" for name in layers}  # PEFT writes the base's own rows of a table too
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        if key.endswith((*LINEAR, *EMBEDDING)) or name in bases or any(copy in key for copy in COPIES):
            continue
        plain = name.replace(".base_layer.", ".")
        if not (biases and plain.endswith(".bias")) and not any(f".{module}." in f".{plain}" for module in saved):
            raise MergeError(
                f"{folder / WEIGHTS}: {name} is no factor and in none of modules_to_save, so it is not read"
            )
        yield plain, tensor


def _stored(name: str, layers: Mapping[str, Factors]) -> str:
    """The name under which a whole tensor is written: the bias of a layer with an update lies deeper."""
    owner, _, leaf = name.rpartition(".")
    return f"{owner}.base_layer.{leaf}" if owner in layers else name


def _positive(factors: Factors) -> Factors:
    """The same product with a scale above zero, as alphas are; a sign goes into B."""
    A, B = factors.A.float(), factors.B.float()
    scale = factors.scale
    if scale == 0:
        return Factors(A, torch.zeros_like(B), 1.0, factors.is_embedding)
    return Factors(A, B if scale > 0 else -B, abs(scale), factors.is_embedding)


def _ranks_and_alphas(layers: Mapping[str, Factors]) -> dict[str, Any]:
    ranks: dict[str, float] = {name: factors.rank for name, factors in layers.items()}
    alphas = {name: factors.scale * factors.rank for name, factors in layers.items()}
    rank, ranks = _usual_and_others(ranks)
    alpha, alphas = _usual_and_others(alphas)
    return {"r": rank, "rank_pattern": ranks, "lora_alpha": alpha, "alpha_pattern": alphas, "use_rslora": False}


def _usual_and_others(values: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """The most common value, and the layers with others, long names first: PEFT takes the first name that is an end."""
    usual = Counter(values.values()).most_common(1)[0][0]
    odd = {name for name, value in values.items() if value != usual}
    ends = {name for name in values if any(name.endswith(f".{other}") for other in odd)}
    return usual, {name: values[name] for name in sorted(odd | ends, key=lambda name: (-len(name), name))}
