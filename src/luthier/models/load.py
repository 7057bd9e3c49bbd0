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
    auto_class = getattr(transformers, auto_model)
    with _told("model.name", source.name), _quiet():
        torch.manual_seed(seed)
        model = auto_class.from_pretrained(
            _place(source),
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.bfloat16 if source.dtype == "bfloat16" else torch.float32,
            attn_implementation=_attention(source.attention, device),
            **config,
        )
    model.config.use_cache = False  # nothing is generated while training
    return cast(PreTrainedModel, model.to(device))


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
    except (OSError, ValueError, KeyError, ImportError) as error:
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
