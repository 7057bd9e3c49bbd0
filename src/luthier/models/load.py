"""Load a pretrained model and its processor, trusting nothing that was downloaded to choose code.

`trust_remote_code=False` and the attention's implementation are always said by us; what a `config.json` may say
is in `models/trust.py`. Only safetensors weights are read; a pickle may run code.
"""

import contextlib
import json
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from luthier.data.places import locate
from luthier.errors import LuthierError, ModelError
from luthier.models import trust
from luthier.models.source import ModelSource


def load_processor(source: ModelSource) -> PreTrainedTokenizerBase:
    """The tokenizer, with a padding token.

    Raises ModelError where there is none.
    """
    place = _place(source)
    with _told(source.name), trust.no_pickles(source.name):
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    if not isinstance(tokenizer, PreTrainedTokenizerBase):  # a file may name any class of transformers
        raise ModelError(f"model.name: {source.name} cannot be loaded: its tokenizer is a {type(tokenizer).__name__}")
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):  # what transformers makes of no file at all
        raise ModelError(f"model.name: {source.name} cannot be loaded: it has no tokenizer files that are known")
    if tokenizer.pad_token is None:
        # Any token serves, as padded positions are masked; unk before eos, so that a text's own end stays.
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def load_model(
    source: ModelSource,
    auto_model: str,
    config: dict[str, Any],
    *,
    device: str,
    seed: int,
    processor: PreTrainedTokenizerBase | None = None,
    notes: list[str] | None = None,
) -> PreTrainedModel:
    """The pretrained model under a task's head; weights that are new are drawn under the seed.

    `processor` saves loading it again; what a user should know of the weights is added to `notes`.
    Raises ModelError where it cannot be loaded, or weights of its body are missing.
    """
    auto_class, place = getattr(transformers, auto_model), _place(source)
    with _told(source.name), _quiet(), trust.no_pickles(source.name):
        settings = _configuration(place, source.name, config)
        # Said last: as an argument, it would yield to the file's own `_attn_implementation`.
        settings._attn_implementation = _attention(source.attention, device)
        trust.require_shards(Path(place), source.name)
        torch.manual_seed(seed)
        model, told = auto_class.from_pretrained(
            place,
            config=settings,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.bfloat16 if source.dtype == "bfloat16" else torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    mismatched = [name for name, *_ in told["mismatched_keys"]]
    said = trust.require_body(model, told["missing_keys"], mismatched, source.name)
    if notes is not None:
        notes += said
    processor = processor or load_processor(source)
    model.config.pad_token_id = processor.pad_token_id  # decoders look for a row's last token by it
    model.config.use_cache = False  # nothing is generated while training
    return cast(PreTrainedModel, model.to(device))


def _configuration(place: str, name: str, config: dict[str, Any]) -> PreTrainedConfig:
    """The file's configuration without what chooses code, read by transformers from a copy."""
    raw, _ = PreTrainedConfig.get_config_dict(place, trust_remote_code=False)
    clean = trust.harmless(raw, name)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(clean), encoding="utf-8")
        settings = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, **config)
    settings._name_or_path = place
    return cast(PreTrainedConfig, settings)


def num_positions(model: PreTrainedModel, processor: PreTrainedTokenizerBase) -> int:
    """Most tokens that both take; a model with relative positions sets no limit of its own."""
    limit: int = getattr(model.config, "max_position_embeddings", None) or processor.model_max_length
    return min(limit, processor.model_max_length)


def _place(source: ModelSource) -> str:
    path = locate(source.name, where="model.name", error=ModelError)
    if path is None:
        return source.name
    trust.require_plain_weights(path, source.name)
    return str(path)


def _attention(asked: str, device: str) -> str | None:
    """On a CPU the plain matrix products beat the fused kernel for rows of a sentence or a page."""
    return asked if asked != "auto" else "eager" if device == "cpu" else None


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """What transformers raises, as one message of ours: files that are no model break it in every kind of way."""
    try:
        yield
    except LuthierError:
        raise
    except Exception as error:
        first = re.split(r"\n|(?<=[.!]) ", str(error).strip())[0][:300] or type(error).__name__
        raise ModelError(f"model.name: {name} cannot be loaded: {first}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warning that the head is new: that is why we train."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
