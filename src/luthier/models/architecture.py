"""What a model is built as, read from its configuration: encoder, decoder, encoder-decoder or speech.

As the field uses them: encoders understand (classes, entities, answers in a text), decoders go on with a text
(completion, chat), encoder-decoders turn one text into another (summaries, translation), speech models write down
what they hear.
"""

from typing import Any, Literal

import transformers
from transformers import PreTrainedConfig

from luthier.errors import ModelError

Architecture = Literal["encoder", "decoder", "encoder-decoder", "speech", "other"]
EXAMPLES: dict[str, str] = {
    "encoder": "BERT, RoBERTa, DistilBERT, ALBERT, ELECTRA, DeBERTa, ModernBERT",
    "decoder": "GPT-2, GPT-NeoX, Llama, Mistral, Qwen, Gemma, Phi",
    "encoder-decoder": "T5, BART, Marian, mBART, Pegasus",
    "speech": "Whisper, wav2vec2, HuBERT",
}
"""Families of each, for a message."""
_BY_AUTO_CLASS = (
    ("speech", "AutoModelForSpeechSeq2Seq"),
    ("speech", "AutoModelForCTC"),
    ("encoder-decoder", "AutoModelForSeq2SeqLM"),
    ("encoder", "AutoModelForMaskedLM"),
    ("decoder", "AutoModelForCausalLM"),
)
"""In this order, as BERT may be built as a decoder, and BART as an encoder."""


def architecture(config: PreTrainedConfig) -> Architecture:
    """What a model of this configuration is built as."""
    for name, auto_class in _BY_AUTO_CLASS:
        if _has(auto_class, config):
            return name  # type: ignore[return-value]
    return "other"


def require_fit(config: PreTrainedConfig, auto_model: str, suits: tuple[str, ...], task: str, name: str) -> None:
    """Raise ModelError where a task does not suit a model, with the families that it suits."""
    built = architecture(config)
    if (built in suits or built == "other") and auto_class(auto_model, config) is not None:
        return
    families = "; ".join(f"{each}s ({EXAMPLES[each]})" for each in suits)
    raise ModelError(
        f"task: {task} does not suit {name}, which is {config.model_type}, {_article(built)}; "
        f"it suits {families.replace('speechs', 'speech models')}"
    )


def auto_class(names: str, config: PreTrainedConfig) -> Any | None:
    """Of auto classes, with a | between them, the first that knows the configuration; None where none does."""
    return next((getattr(transformers, name) for name in names.split("|") if _has(name, config)), None)


def _has(auto_class: str, config: PreTrainedConfig) -> bool:
    mapping: Any = getattr(transformers, auto_class)._model_mapping
    return type(config) in mapping


def _article(built: str) -> str:
    return {"speech": "a speech model", "other": "of an architecture that is not known"}.get(
        built, f"{'an' if built[0] in 'aeiou' else 'a'} {built}"
    )
