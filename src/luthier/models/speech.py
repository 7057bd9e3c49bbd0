"""Processors of speech models: a feature extractor, which makes a wave a model's inputs, and a tokenizer.

Known are those of Whisper, which hears clips of one length, and of wav2vec2 and what descends from it (HuBERT, WavLM,
Conformer), which hear a wave of any length and write a character, or a blank, for each of its frames.
"""

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from jaxtyping import Int
from torch import Tensor
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
    WhisperFeatureExtractor,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from luthier.errors import ModelError, RecipeError, did_you_mean
from luthier.models import plugins, trust
from luthier.models.place import place_of, told
from luthier.models.processor import Processor, tokenizer_of
from luthier.models.source import ModelSource

SPECIAL = BLANK, UNKNOWN, DELIMITER = "[PAD]", "[UNK]", "|"
"""CTC's blank, a character that is not in the vocabulary, and what stands between words."""
KNOWN = (
    (WhisperFeatureExtractor, WhisperTokenizer, WhisperProcessor),
    (Wav2Vec2FeatureExtractor, Wav2Vec2CTCTokenizer, Wav2Vec2Processor),
)
WITHOUT_BLANKS = {"zh", "ja", "th", "lo", "my", "yue"}
"""Languages that Whisper writes without blanks between words."""
FRAME = (400, 320)
"""Samples that a frame of wav2vec2 looks at, and samples from one frame to the next."""


def load_speech_processor(source: ModelSource, characters: Sequence[str] | None) -> ProcessorMixin:
    """A model's processor; with `characters`, its tokenizer is a new one that writes them.

    Raises ModelError where there is none, or one that is not known here.
    """
    plugins.register()
    place = place_of(source)
    with told(source.name), trust.no_pickles(source.name):
        extractor = transformers.AutoFeatureExtractor.from_pretrained(place, trust_remote_code=False)
        if characters is not None and not isinstance(extractor, Wav2Vec2FeatureExtractor):
            raise ModelError("task.vocabulary: only models that are trained by CTC, as wav2vec2, take another one")
        tokenizer = _tokenizer(place, source.name) if characters is None else character_tokenizer(characters)
        for hears, writes, processor in KNOWN:
            if isinstance(extractor, hears) and isinstance(tokenizer, writes):
                return processor(extractor, tokenizer)
    found = f"a {type(extractor).__name__} and a {type(tokenizer).__name__}"
    raise ModelError(f"model.name: {source.name} comes with {found}; known are Whisper's and wav2vec2's")


def _tokenizer(place: str, name: str) -> PreTrainedTokenizerBase:
    """The model's own.

    Raises ModelError where it has none, as a model that was only pretrained on sound.
    """
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError, TypeError):
        tokenizer = None
    if not isinstance(tokenizer, PreTrainedTokenizerBase) or len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelError(
            f"model.name: {name} has no tokenizer: it hears, but was never taught to write; "
            "task.vocabulary=train gives it the characters of the training rows"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def character_tokenizer(characters: Sequence[str]) -> Wav2Vec2CTCTokenizer:
    """A tokenizer that writes these characters, with the blank as number 0."""
    numbers = {token: number for number, token in enumerate([*SPECIAL, *characters])}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.json"
        file.write_text(json.dumps(numbers), encoding="utf-8")
        special: dict[str, Any] = {"pad_token": BLANK, "unk_token": UNKNOWN, "bos_token": None, "eos_token": None}
        return Wav2Vec2CTCTokenizer(str(file), word_delimiter_token=DELIMITER, **special)


def characters_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Every character of some transcripts, sorted; without the blank, which is a delimiter in a vocabulary."""
    return tuple(sorted({character for text in texts for character in text} - {" ", DELIMITER}))


def is_ctc(processor: Processor) -> bool:
    """Whether it serves a model that writes a character or a blank for each frame."""
    return isinstance(tokenizer_of(processor), Wav2Vec2CTCTokenizer)


def set_language(processor: ProcessorMixin, language: str | None, task_token: str) -> None:
    """Let a Whisper's tokenizer begin transcripts with the tokens of a language and a task; with none, with neither.

    Raises RecipeError where the language is not known, or the model is none that takes one.
    """
    if is_ctc(processor):
        if language is not None:
            raise RecipeError("task.language: only Whisper is told a language; leave it out")
        return
    known = {*TO_LANGUAGE_CODE, *TO_LANGUAGE_CODE.values()}
    if language is not None and language.lower() not in known:
        raise RecipeError(f"task.language: Whisper knows no {language}{did_you_mean(language.lower(), known)}")
    task = None if language is None else task_token
    processor.tokenizer.set_prefix_tokens(language=language, task=task, predict_timestamps=False)


def writes_blanks(processor: Processor) -> bool:
    """Whether the language that a Whisper's tokenizer was set to write has blanks between words."""
    tokenizer = tokenizer_of(processor)
    code = TO_LANGUAGE_CODE.get(tokenizer.language, tokenizer.language)
    return tokenizer.task == "translate" or code not in WITHOUT_BLANKS


def settle_language(model: PreTrainedModel, language: str | None, task_token: str) -> None:
    """Let a Whisper of many languages write in the one it is trained for.

    Raises ModelError where it needs to be told a language, or knows one alone.
    """
    config: Any = model.generation_config
    knows_many = getattr(config, "is_multilingual", False)
    if knows_many and language is None:
        raise ModelError("task.language: this model knows many languages; say which, as in task.language=english")
    if language is not None and not knows_many:
        raise ModelError("task.language: this model knows one language alone; leave it out")
    if language is not None:
        config.language, config.task = language.lower(), task_token


def note_limits(model: PreTrainedModel, processor: Processor) -> None:
    """Write into a processor what only its model knows: how long its frames are, or how much it can write."""
    if is_ctc(processor):
        lengths = frame_counts(model, torch.arange(1, 2**16))
        window, following = (int((lengths >= count).nonzero()[0]) + 1 for count in (1, 2))
        extractor_of(processor).frame = [window, following - window]
    else:
        tokenizer = tokenizer_of(processor)
        tokenizer.model_max_length = min(tokenizer.model_max_length, model.config.max_target_positions)


def frame_counts(model: PreTrainedModel, num_samples: Int[Tensor, " rows"]) -> Int[Tensor, " rows"]:
    """How many frames a model that is trained by CTC makes of so many samples."""
    count: Any = model._get_feat_extract_output_lengths
    frames: Tensor = count(num_samples)
    return frames.long()


def num_frames(num_samples: int, processor: Processor) -> int:
    """The same without the model, as its processor has it noted; none where they are too few."""
    window, hop = getattr(extractor_of(processor), "frame", FRAME)
    return max(0, (num_samples - window) // hop + 1)


def extractor_of(processor: Processor) -> Any:
    """The feature extractor inside."""
    assert not isinstance(processor, PreTrainedTokenizerBase), "a tokenizer hears nothing"
    return processor.feature_extractor


def sampling_rate(processor: Processor) -> int:
    """Samples a second that the model was trained on."""
    return int(extractor_of(processor).sampling_rate)
