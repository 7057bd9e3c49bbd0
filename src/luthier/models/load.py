"""Load a pretrained model, trusting nothing that was downloaded to choose code.

`trust_remote_code=False` and the attention's implementation are always said by us; what a `config.json` may say
is in `models/trust.py`. Only safetensors and .gguf weights are read; a pickle may run code.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available, is_torch_flex_attn_available

from luthier.data.places import public_name
from luthier.errors import ModelError
from luthier.models import gguf, plugins, trust
from luthier.models.architecture import Architecture, architecture, auto_class, require_fit
from luthier.models.heads import remember_new
from luthier.models.place import place_of, told
from luthier.models.processor import Processor, tokenizer_of
from luthier.models.quantise import quantise
from luthier.models.quiet import quiet
from luthier.models.source import ModelSource

GPU_ATTENTION = {
    "flash_attention_2": ("the package flash-attn", is_flash_attn_2_available),
    "flash_attention_3": ("the package flash-attn-3", is_flash_attn_3_available),
    "flex_attention": ("a newer torch", is_torch_flex_attn_available),
}
"""What each needs, and whether that is there; transformers would look for it only after the weights."""


@dataclass(frozen=True)
class Ask:
    """What a task asks of a model that is loaded for it."""

    task: str
    """The task's kind, for messages."""
    auto_model: str
    """The auto class; of several, with a | between them, the first that knows the configuration."""
    suits: tuple[str, ...]
    """The architectures that it suits."""
    config: Mapping[str, Any]
    """What the configuration must say."""

    @classmethod
    def of(cls, task: Any) -> Self:
        """What a resolved task asks (tasks lie above models, so its type is not known here)."""
        return cls(task.kind(), task.auto_model, task.architectures, task.configuration())


def load_model(
    source: ModelSource,
    ask: Ask,
    *,
    device: str,
    seed: int,
    processor: Processor,
    notes: list[str] | None = None,
) -> PreTrainedModel:
    """The pretrained model under a task's head; weights that are new are drawn under the seed.

    What a user should know of the weights is added to `notes`. Raises ModelError where it cannot be loaded, does not
    suit the task, or weights of its body are missing.
    """
    place = place_of(source)
    with told(source.name), quiet(), trust.no_pickles(source.name), gguf.opened(place) as opened:
        settings = read_configuration(place, source.name, ask.config)
        require_fit(settings, ask.auto_model, ask.suits, ask.task, public_name(source.name))
        # Said last: as an argument, it would yield to the file's own `_attn_implementation`.
        settings._attn_implementation = attention(source.attention, device)
        trust.require_shards(Path(place), source.name)
        torch.manual_seed(seed)
        chosen: Any = auto_class(ask.auto_model, settings)
        model, loaded = chosen.from_pretrained(
            **opened,
            **gguf.dequantised(place),
            config=settings,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.bfloat16 if source.dtype == "bfloat16" else torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    model.config._name_or_path = place
    mismatched = [name for name, *_ in loaded["mismatched_keys"]]
    said = trust.require_body(model, loaded["missing_keys"], mismatched, source.name)
    remember_new(model, loaded["missing_keys"])
    if source.quantize != "none":
        said += quantise(model, source.quantize, device=device)
    if notes is not None:
        notes += said
    model.config.pad_token_id = tokenizer_of(processor).pad_token_id  # decoders look for a row's last token by it
    model.config.use_cache = False  # nothing is generated while training
    return cast(PreTrainedModel, model.to(device))


def read_configuration(place: str, name: str, config: Mapping[str, Any]) -> PreTrainedConfig:
    """The file's configuration without what chooses code, read by transformers from a copy."""
    plugins.register()
    with gguf.opened(place) as opened:
        raw, _ = PreTrainedConfig.get_config_dict(**opened, trust_remote_code=False)
    clean = trust.harmless(raw, name)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(clean), encoding="utf-8")
        settings = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, **config)
    settings._name_or_path = place
    return cast(PreTrainedConfig, settings)


def architecture_of(source: ModelSource) -> Architecture:
    """What a model is built as, from its configuration alone.

    Raises ModelError where it cannot be read.
    """
    with told(source.name), trust.no_pickles(source.name):
        return architecture(read_configuration(place_of(source), source.name, {}))


def require_suited(source: ModelSource, task: Any) -> None:
    """Raise ModelError where a task does not suit a model, before anything but its configuration is read."""
    with told(source.name), trust.no_pickles(source.name):
        settings = read_configuration(place_of(source), source.name, {})
        require_fit(settings, task.auto_model, task.architectures, task.kind(), public_name(source.name))


def num_positions(model: PreTrainedModel, processor: Processor) -> int:
    """Most tokens that both take; a model with relative positions sets no limit of its own."""
    most = tokenizer_of(processor).model_max_length
    limit: int = getattr(model.config, "max_position_embeddings", None) or most
    return min(limit, most)


def attention(asked: str, device: str) -> str | None:
    """On a CPU the plain matrix products beat the fused kernel for rows of a sentence or a page.

    Raises ModelError where what was asked for is not there.
    """
    if asked in GPU_ATTENTION:
        package, is_there = GPU_ATTENTION[asked]
        if device != "cuda":
            raise ModelError(f"model.attention: {asked} needs a GPU (say auto or sdpa on this device)")
        if not is_there():
            raise ModelError(f"model.attention: {asked} needs {package}; install it, or say sdpa")
    return asked if asked != "auto" else "eager" if device == "cpu" else None
