"""Sentence embeddings: the hidden states of a text as one vector, and the files that say how it is made.

The files are those of sentence-transformers: `modules.json` names a model, a pooling and perhaps a normalisation,
`1_Pooling/config.json` the kind of pooling. Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.utils import cached_file

from luthier import files
from luthier.errors import ModelError

Pooling = Literal["mean", "cls", "max", "last", "weighted-mean", "mean-sqrt-length"]
"""mean, max: of all tokens; cls: the first one; last: the last one; weighted-mean: later tokens weigh more
(Muennighoff 2022, https://arxiv.org/abs/2202.08904); mean-sqrt-length: the sum over the root of their number."""
THEIR_NAMES: dict[Pooling, tuple[str, str]] = {
    "mean": ("mean_tokens", "mean"),
    "cls": ("cls_token", "cls"),
    "max": ("max_tokens", "max"),
    "last": ("lasttoken", "lasttoken"),
    "weighted-mean": ("weightedmean_tokens", "weightedmean"),
    "mean-sqrt-length": ("mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
}
"""What sentence-transformers calls each: until version 5 in a key of its own, behind OLD_KEY; since then as a value."""
OLD_KEY = "pooling_mode_"
SERVED = ("Transformer", "Pooling", "Normalize")
"""The modules that a folder may have, in this order."""


@dataclass(frozen=True)
class Sentences:
    """How a text becomes a vector."""

    pooling: Pooling = "mean"
    normalize: bool = False
    """Whether the vector has length 1."""
    max_length: int | None = None
    """Most tokens of a text; None where nothing is said."""

    def embed(
        self, hidden: Float[Tensor, "batch seq width"], mask: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch width"]:
        """The vectors of texts, in fp32 at least."""
        vectors = pool(hidden.to(torch.promote_types(hidden.dtype, torch.float32)), mask, self.pooling)
        return F.normalize(vectors, dim=-1) if self.normalize else vectors


def pool(
    hidden: Float[Tensor, "batch seq width"], mask: Int[Tensor, "batch seq"], pooling: str
) -> Float[Tensor, "batch width"]:
    """Each row's states as one vector; padding, on whichever side, has no part in it."""
    places = mask.cumsum(-1) * mask  # 1, 2, 3 ... for a row's tokens, 0 for padding
    if pooling in ("cls", "last"):
        wanted = (places == 1) if pooling == "cls" else (places == places.amax(-1, keepdim=True))
        return hidden[torch.arange(len(hidden), device=hidden.device), wanted.int().argmax(-1)]
    if pooling == "max":
        return hidden.masked_fill(mask[..., None] == 0, -torch.inf).amax(1)
    weights = (places if pooling == "weighted-mean" else mask).to(hidden.dtype)
    total = torch.einsum("bs,bsw->bw", weights, hidden)
    count = weights.sum(-1, keepdim=True).clamp(min=1)
    return total / (count.sqrt() if pooling == "mean-sqrt-length" else count)


def usual(model: PreTrainedModel) -> Sentences:
    """How the model's own files say that its vectors are made; else the mean, and of a decoder the last token, as no
    other one has read the whole text.

    Raises ModelError where they ask for what is not served.
    """
    place = str(model.config._name_or_path)
    modules = _read(place, "modules.json")
    if modules is None:
        from luthier.models.architecture import architecture

        return Sentences("last" if architecture(model.config) == "decoder" else "mean")
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    if odd := [kind for kind in kinds if kind not in SERVED]:
        raise ModelError(f"model.name: {place} makes its vectors with a {odd[0]} module, which is not served")
    settings = _read(place, "sentence_bert_config.json") or {}
    folder = next((module["path"] for module, kind in zip(modules, kinds, strict=True) if kind == "Pooling"), None)
    pooling = _pooling(_read(place, f"{folder}/config.json") or {}, place) if folder else "mean"
    return Sentences(pooling, "Normalize" in kinds, settings.get("max_seq_length"))


def width_of(model: PreTrainedModel) -> int:
    """Numbers of a vector."""
    config = model.config
    width = getattr(config, "word_embed_proj_dim", None) or getattr(config, "hidden_size", None)  # OPT's last states
    if not isinstance(width, int):
        raise ModelError(f"model.name: the configuration of this {config.model_type} does not tell its width")
    return width


def write(folder: Path, how: Sentences, width: int, *, similarity: str = "cosine") -> None:
    """Add to a model's folder what sentence-transformers of any version needs to make the same vectors."""
    modes = {f"{OLD_KEY}{theirs}": ours == how.pooling for ours, (theirs, _) in THEIR_NAMES.items()}
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    used = SERVED if how.normalize else SERVED[:2]
    modules = [
        {"idx": number, "name": str(number), "path": paths[kind], "type": f"sentence_transformers.models.{kind}"}
        for number, kind in enumerate(used)
    ]
    for kind in used[1:]:
        (folder / paths[kind]).mkdir(exist_ok=True)
    files.write_json(folder / "modules.json", modules)
    files.write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **modes})
    files.write_json(folder / "sentence_bert_config.json", {"max_seq_length": how.max_length, "do_lower_case": False})
    about = {"__version__": {"sentence_transformers": "2.0.0"}, "similarity_fn_name": similarity}
    files.write_json(folder / "config_sentence_transformers.json", about)


def _pooling(settings: dict[str, Any], place: str) -> Pooling:
    """The kind that a pooling's settings mean."""
    modes = [settings["pooling_mode"]] if "pooling_mode" in settings else []
    modes = modes or [key.removeprefix(OLD_KEY) for key, on in settings.items() if on is True and OLD_KEY in key]
    found = [ours for ours, theirs in THEIR_NAMES.items() if modes == [theirs[0]] or modes == [theirs[1]]]
    if not found:
        told = " and ".join(map(str, modes)) or "nothing that is known"
        raise ModelError(f"model.name: {place} pools by {told}; one of {', '.join(THEIR_NAMES)} is served")
    return found[0]


def _read(place: str, name: str) -> Any:
    """A JSON file of a model's folder or of the hub; None where there is none."""
    if not place or Path(place).is_file():  # a model that was built here, or .gguf: weights and words alone
        return None
    path = cached_file(
        place, name, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    if path is None:
        return None
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"model.name: {path} cannot be read: {error}") from None
