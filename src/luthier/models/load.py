"""Load a pretrained model and its processor, trusting nothing that was downloaded to choose code.

`trust_remote_code=False` and the attention's implementation are always said by us: a `config.json` may name
both (CVE-2026-4372). Only safetensors weights are read; a pickle may run code.
"""

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any, cast

import torch
import transformers
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.data.places import locate
from luthier.errors import ModelError
from luthier.models.source import ModelSource


def load_processor(source: ModelSource) -> PreTrainedTokenizerBase:
    """The tokenizer, with a padding token.

    Raises ModelError where there is none.
    """
    with _told("model.name", source.name):
        tokenizer = transformers.AutoTokenizer.from_pretrained(_place(source), trust_remote_code=False)
    if tokenizer.pad_token is None:
        # Any token serves, as padded positions are masked; unk before eos, so that a text's own end stays.
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return cast(PreTrainedTokenizerBase, tokenizer)


def load_model(
    source: ModelSource, auto_model: str, config: dict[str, Any], *, device: str, seed: int
) -> PreTrainedModel:
    """The pretrained model under a task's head; weights that are new are drawn under the seed.

    Raises ModelError where it cannot be loaded.
    """
    auto_class, place = getattr(transformers, auto_model), _place(source)
    with _told("model.name", source.name), _quiet():
        settings = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False, **config)
        # Said last: as an argument, it would yield to the file's own `_attn_implementation`.
        settings._attn_implementation = _attention(source.attention, device)
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
    _require_base(model, [name for name, *_ in told["mismatched_keys"]], source.name)
    model.config.pad_token_id = load_processor(source).pad_token_id  # decoders look for a row's last token by it
    model.config.use_cache = False  # nothing is generated while training
    return cast(PreTrainedModel, model.to(device))


def _require_base(model: PreTrainedModel, new: list[str], name: str) -> None:
    """A head of another size is replaced by a new one; anything else must fit."""
    odd = [parameter for parameter in new if parameter.startswith(f"{model.base_model_prefix}.")]
    if odd:
        raise ModelError(f"model.name: {name} cannot be loaded: its weights do not fit its config.json: {odd[0]}")


def num_positions(model: PreTrainedModel, processor: PreTrainedTokenizerBase) -> int:
    """Most tokens that both take; a model with relative positions sets no limit of its own."""
    limit: int = getattr(model.config, "max_position_embeddings", None) or processor.model_max_length
    return min(limit, processor.model_max_length)


def _place(source: ModelSource) -> str:
    path = locate(source.name, where="model.name", error=ModelError)
    return source.name if path is None else str(path)


def _attention(asked: str, device: str) -> str | None:
    """On a CPU the plain matrix products beat the fused kernel for rows of a sentence or a page."""
    return asked if asked != "auto" else "eager" if device == "cpu" else None


@contextlib.contextmanager
def _told(where: str, name: str) -> Iterator[None]:
    """What transformers raises, as one message of ours."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        first = re.split(r"\n|(?<=[.!]) ", str(error).strip())[0][:300]
        raise ModelError(f"{where}: {name} cannot be loaded: {first}") from error


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
