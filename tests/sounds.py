"""Speech that no one said: a tone for each letter; with tiny models that hear it, and their processors."""

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from datasets import Dataset
from numpy import ndarray
from transformers import (
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
    WhisperFeatureExtractor,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from luthier.data.audio import EMBEDDED
from luthier.models.speech import character_tokenizer, note_limits
from tests.tiny import tiny

RATE = 16_000
LETTERS = "abcd"
MARKS = ("<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|notimestamps|>")
WHISPER = {"vocab_size": 262, "pad_token_id": 256, "eos_token_id": 256, "bos_token_id": 256}
WHISPER |= {"decoder_start_token_id": 257}


def spoken(text: str, rate: int = RATE, *, seconds: float = 0.02) -> ndarray:
    """A tone for each letter, silence for a blank."""
    times = np.arange(round(seconds * rate)) / rate
    tones = [np.sin(2 * np.pi * 400 * (1 + LETTERS.find(c)) * times) * (c != " ") for c in text]
    return np.concatenate(tones).astype(np.float32) * 0.5


def embedded(wave: ndarray, rate: int = RATE) -> str:
    """A wave as a row keeps it."""
    file = BytesIO()
    soundfile.write(file, wave, rate, format="AU", subtype="FLOAT")
    return EMBEDDED + base64.b64encode(file.getvalue()).decode()


def written(path: Path, wave: ndarray, rate: int = RATE, **how: Any) -> Path:
    """A sound file."""
    soundfile.write(path, wave, rate, **how)
    return path


def texts(num_rows: int, *, seed: int = 0) -> list[str]:
    """Two words of one to three letters; row by row the same for the same seed."""
    random = np.random.default_rng(seed)
    draw = [["".join(random.choice(list(LETTERS), size=random.integers(1, 4))) for _ in "ab"] for _ in range(num_rows)]
    return [" ".join(words) for words in draw]


def rows(num_rows: int, *, seed: int = 0) -> Dataset:
    """Clips with their transcripts."""
    said = texts(num_rows, seed=seed)
    return Dataset.from_dict({"audio": [embedded(spoken(text)) for text in said], "text": said})


def folder_of_clips(folder: Path, num_rows: int) -> Path:
    """A CSV of sound files beside it."""
    said = texts(num_rows)
    lines = ["audio,text"]
    for number, text in enumerate(said):
        written(folder / f"{number}.wav", spoken(text))
        lines.append(f"{number}.wav,{text}")
    table = folder / "train.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def tiny_speech(family: str, **settings: Any) -> PreTrainedModel:
    """Whisper, or a model that is trained by CTC and sure of each frame, with as many tokens as its processor."""
    if family == "whisper":
        return tiny(family, head="lm", **WHISPER | settings)
    usual = {"vocab_size": 3 + len(LETTERS), "pad_token_id": 0, "feat_extract_norm": "layer"}
    model = tiny(family, head="lm", **usual | settings)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
    return model


def processor_of(family: str, **settings: Any) -> Any:
    """The processor of a tiny model."""
    if family == "whisper":
        extractor = WhisperFeatureExtractor(feature_size=8, chunk_length=1, hop_length=500, n_fft=512)
        numbers = {letter: number for number, letter in enumerate(sorted(bytes_to_unicode().values()))}
        tokenizer = WhisperTokenizer(numbers, [], pad_token="<|endoftext|>", extra_special_tokens=list(MARKS))
        made: Any = WhisperProcessor(extractor, tokenizer)
    else:
        extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
        made = Wav2Vec2Processor(extractor, character_tokenizer(LETTERS))
    note_limits(tiny_speech(family, **settings), made)
    return made


def saved(folder: Path, family: str, **settings: Any) -> Path:
    """A tiny model with its processor on disk."""
    tiny_speech(family, **settings).save_pretrained(folder)
    processor_of(family, **settings).save_pretrained(folder)
    return folder
