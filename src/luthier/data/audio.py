"""Sound: what a row may bring as audio, how it is kept, and how it becomes one wave at a model's rate.

A row keeps its audio as one text: the path of a file, or a whole file as a data address (RFC 2397), which is what
numbers and bytes become. Files are those that libsndfile reads: wav, also of floats, flac, ogg, mp3 and more. Several
channels are averaged, and other rates are resampled by soxr (https://sourceforge.net/projects/soxr).
"""

import base64
import binascii
import os
from collections.abc import Mapping
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier import extras
from luthier.data.columns import BadRow
from luthier.errors import DataError, did_you_mean

EMBEDDED = "data:;base64,"
"""How the text of an audio begins that is no path: its bytes follow."""
LEAST_RATE, GREATEST_RATE = 1_000, 1_000_000
"""Samples a second: what lies outside is no sampling rate of speech, but a mistake."""
LOUDEST = 10.0
"""A wave lies between -1 and 1; what goes far beyond was not scaled to it."""
NUM_BESIDE = 1000
"""Files that are looked at for one that a missing file was mistyped for."""


def settled(value: object, sampling_rate: object, folder: Path | None) -> str:
    """A row's audio as the text it is kept as; of a file only the head is read.

    A path is looked for in `folder`; numbers need a sampling rate, in samples a second. Raises BadRow.
    """
    if isinstance(value, Mapping):
        value, sampling_rate = _unpacked(value, sampling_rate)
    if isinstance(value, bytes):
        value = _embedded(value)
    elif isinstance(value, list | ndarray):
        value = _embedded(_as_file(value, sampling_rate))
    elif not isinstance(value, str):
        raise BadRow(f"audio is {value!r:.60}; it must be a file's path, or a list of numbers with a sampling_rate")
    elif not value.startswith(EMBEDDED):
        value = _path(value, folder)
    _require_sound(value)
    return value


def wave(audio: str, sampling_rate: int) -> Float[ndarray, " samples"]:
    """The sound of an audio that was settled: one channel, in float32, at this many samples a second.

    Raises DataError where it cannot be decoded.
    """
    soundfile = _soundfile()
    try:
        sound, found = soundfile.read(_opened(audio), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"data: {_name(audio)} cannot be decoded: {_reason(error)}") from error
    mono = sound.mean(axis=1)
    if not np.isfinite(mono).all():
        raise DataError(f"data: {_name(audio)} has samples that are no finite numbers")
    if found != sampling_rate:
        soxr = extras.need("soxr", extra="speech", needed_for="resampling sound")
        mono = soxr.resample(mono, found, sampling_rate)
    made: Float[ndarray, " samples"] = mono.astype(np.float32)
    return made


def _unpacked(value: Mapping[str, Any], sampling_rate: object) -> tuple[object, object]:
    """What `datasets` has as audio: an array with its rate, a file's bytes, or its path."""
    if value.get("array") is not None:
        return value["array"], value.get("sampling_rate", sampling_rate)
    for key in ("bytes", "path"):
        if value.get(key):
            return value[key], sampling_rate
    raise BadRow(f"audio has {', '.join(map(str, value)) or 'nothing'}, but no path, bytes or array")


def _path(value: str, folder: Path | None) -> str:
    path = (folder or Path()) / Path(value).expanduser()
    try:
        if path.is_file():
            return os.path.abspath(path)
        beside = [file.name for file in islice(path.parent.iterdir(), NUM_BESIDE)] if path.parent.is_dir() else []
    except OSError as error:
        raise BadRow(f"audio: {value:.60} cannot be opened: {error.strerror}") from None
    raise BadRow(f"audio: there is no file {value}{did_you_mean(path.name, beside)}")


def _as_file(values: Any, sampling_rate: object) -> bytes:
    """A wave in numbers as a sound file of floats, the same bytes for the same numbers."""
    try:
        samples = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError):
        raise BadRow("audio is a list that holds more than numbers") from None
    if samples.ndim != 1:
        raise BadRow("audio is a list of lists; it must be one list of numbers, a single channel")
    if samples.size == 0:
        raise BadRow("audio has no samples")
    if not np.isfinite(samples).all():
        raise BadRow(f"audio has no finite number at {int(np.argmin(np.isfinite(samples)))}")
    if (peak := float(np.abs(samples).max())) > LOUDEST:
        raise BadRow(f"audio goes up to {peak:,.0f}; a wave lies between -1 and 1 (16-bit numbers: divide by 32,768)")
    if sampling_rate is None:
        raise BadRow("audio is a list of numbers, and no sampling_rate says how many are a second")
    if not isinstance(sampling_rate, int | float) or not LEAST_RATE <= sampling_rate <= GREATEST_RATE:
        raise BadRow(
            f"sampling_rate is {sampling_rate!r:.60}; it must lie between {LEAST_RATE:,} and {GREATEST_RATE:,}"
        )
    file = BytesIO()
    _soundfile().write(file, samples, round(sampling_rate), format="AU", subtype="FLOAT")  # a WAV would hold the time
    return file.getvalue()


def _require_sound(audio: str) -> None:
    """Raise BadRow where the head of a sound file says that it is none, or that nothing can be heard."""
    soundfile = _soundfile()
    try:
        head = soundfile.info(_opened(audio))
    except (soundfile.SoundFileError, OSError, binascii.Error) as error:
        raise BadRow(f"audio: {_name(audio)} is no sound file that can be read: {_reason(error)}") from None
    if head.frames == 0:
        raise BadRow(f"audio: {_name(audio)} has no samples")
    if not LEAST_RATE <= head.samplerate <= GREATEST_RATE:
        raise BadRow(f"audio: {_name(audio)} says a sampling rate of {head.samplerate:,}")


def _embedded(content: bytes) -> str:
    return EMBEDDED + base64.b64encode(content).decode("ascii")


def _opened(audio: str) -> str | BytesIO:
    """What soundfile reads."""
    if audio.startswith(EMBEDDED):
        return BytesIO(base64.b64decode(audio.removeprefix(EMBEDDED), validate=True))
    return audio


def _name(audio: str) -> str:
    return "its content" if audio.startswith(EMBEDDED) else audio


def _reason(error: Exception) -> str:
    """What libsndfile said, without the place, which is told beside."""
    return str(error).rpartition(": ")[2].rstrip(".").lower() or type(error).__name__


def _soundfile() -> Any:
    return extras.need("soundfile", extra="speech", needed_for="reading sound")
