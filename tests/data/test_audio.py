"""Sound in files, numbers and bytes: what is kept of it, what is heard, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from luthier.data.audio import settled, wave
from luthier.data.columns import BadRow
from luthier.errors import DataError
from tests.sounds import RATE, embedded, spoken, written

SAID = spoken("abc ad")


def heard(value: Any, sampling_rate: Any = None, folder: Path | None = None) -> np.ndarray:
    return wave(settled(value, sampling_rate, folder), RATE)


def refusal(value: Any, sampling_rate: Any = None, folder: Path | None = None) -> str:
    with pytest.raises(BadRow) as caught:
        settled(value, sampling_rate, folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "how", "difference"),
    [
        ("a.wav", {"subtype": "FLOAT"}, 0.0),
        ("a.wav", {}, 1e-4),
        ("a.flac", {}, 1e-4),
        ("a.ogg", {}, 0.2),
        ("a.mp3", {}, 0.2),
    ],
)
def test_files_of_every_usual_format_are_heard(name: str, how: Any, difference: float, tmp_path: Path) -> None:
    written(tmp_path / name, SAID, **how)
    found = heard(name, folder=tmp_path)
    assert found.dtype == np.float32
    assert len(found) == pytest.approx(len(SAID), abs=2000 if name == "a.mp3" else 0)
    size = min(len(found), len(SAID))
    assert np.abs(found[:size] - SAID[:size]).mean() <= difference


def test_a_path_is_kept_whole_and_read_again_from_anywhere(tmp_path: Path) -> None:
    written(tmp_path / "a.wav", SAID)
    kept = settled("a.wav", None, tmp_path)
    assert kept == str(tmp_path / "a.wav") == settled(kept, None, None) == settled({"path": "a.wav"}, None, tmp_path)


def test_channels_are_averaged(tmp_path: Path) -> None:
    written(tmp_path / "a.wav", np.stack([SAID, -SAID / 2], 1), subtype="FLOAT")
    np.testing.assert_allclose(heard("a.wav", folder=tmp_path), SAID / 4, atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_another_rate_is_resampled(rate: int, tmp_path: Path) -> None:
    tone, same = spoken("a", rate, seconds=0.5), spoken("a", seconds=0.5)
    written(tmp_path / "a.wav", tone, rate, subtype="FLOAT")
    found = heard("a.wav", folder=tmp_path)
    assert len(found) == len(same)
    inner = slice(800, -800)  # a filter rings at a tone's ends
    np.testing.assert_allclose(found[inner], same[inner], atol=1e-3)


def test_numbers_arrays_and_bytes_are_kept_as_one_text_that_stays_what_it_is(tmp_path: Path) -> None:
    content = written(tmp_path / "a.flac", SAID).read_bytes()
    kept = settled(SAID.tolist(), RATE, None)
    assert kept == embedded(SAID) == settled({"array": SAID, "sampling_rate": RATE}, None, None)
    for value in (kept, settled({"bytes": content, "path": "gone.flac"}, None, None)):
        assert settled(value, None, None) == value
        np.testing.assert_allclose(wave(value, RATE), SAID, atol=1e-4)


@pytest.mark.parametrize(
    ("value", "rate", "message"),
    [
        ([], RATE, "audio has no samples"),
        ([0.0, float("nan")], RATE, "audio has no finite number at 1"),
        ([0.0, "loud"], RATE, "audio is a list that holds more than numbers"),
        ([[0.0], [0.1]], RATE, "audio is a list of lists"),
        ([0.1, 0.2], None, "no sampling_rate says how many are a second"),
        ([0.1, 0.2], 16, "sampling_rate is 16; it must lie between 1,000 and 1,000,000"),
        ([0.1, 0.2], "fast", "sampling_rate is 'fast'"),
        ([0.1, float("nan")], None, "audio has no finite number"),
        ([12_000, -9_000], RATE, "audio goes up to 12,000; a wave lies between -1 and 1"),
        (7, None, "audio is 7; it must be a file's path, or a list of numbers"),
        ({"url": "x"}, None, "audio has url, but no path, bytes or array"),
        ({"bytes": b"nonsense", "path": "a.wav"}, None, "its content is no sound file that can be read"),
        ("data:;base64,%%", None, "its content is no sound file that can be read"),
        ("x" * 5000, None, "cannot be opened"),
    ],
)
def test_what_is_no_sound_is_refused_in_words(value: Any, rate: Any, message: str) -> None:
    assert message in refusal(value, rate)


def test_a_missing_file_is_told_with_one_that_is_there(tmp_path: Path) -> None:
    written(tmp_path / "clip_01.wav", SAID)
    assert refusal("clip_1.wav", folder=tmp_path) == "audio: there is no file clip_1.wav; did you mean clip_01.wav?"
    assert "there is no file" in refusal(".", folder=tmp_path)


def test_files_that_are_corrupt_or_empty_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF" + b"nothing of a wave" * 9)
    assert "a.wav is no sound file that can be read" in refusal("a.wav", folder=tmp_path)
    written(tmp_path / "b.wav", np.zeros(0, np.float32))
    assert "b.wav has no samples" in refusal("b.wav", folder=tmp_path)
    written(tmp_path / "c.wav", SAID, 8)
    assert "c.wav says a sampling rate of 8" in refusal("c.wav", folder=tmp_path)


def test_a_file_whose_sound_is_broken_behind_its_head_is_told_when_it_is_heard(tmp_path: Path) -> None:
    flac = written(tmp_path / "a.flac", spoken("abcd" * 40))
    kept = settled("a.flac", None, tmp_path)
    whole = flac.read_bytes()
    flac.write_bytes(whole[:90] + bytes(len(whole) - 90))
    with pytest.raises(DataError, match=r"a\.flac cannot be decoded"):
        wave(kept, RATE)
    soundfile.write(tmp_path / "b.wav", np.array([0.1, np.nan]), RATE, subtype="FLOAT")
    with pytest.raises(DataError, match=r"b\.wav has samples that are no finite numbers"):
        heard("b.wav", folder=tmp_path)
