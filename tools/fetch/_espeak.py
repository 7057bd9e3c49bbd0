"""eSpeak NG 1.52 out of espeakng-loader 0.2.4 (PyPI, 10 MB; the library is GPL-3.0): text to a wave, by formants.

The library is called through its C interface, so nothing is installed; its header is `espeak-ng/speak_lib.h`.
"""

import ctypes
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tools.packages import Package

PACKAGE = Package("pypi", "espeakng-loader", "0.2.4")  # a wheel for each platform, so no one sum
LIBRARIES = {"linux": "libespeak-ng.so", "darwin": "libespeak-ng.dylib", "win32": "espeak-ng.dll"}
SYNCHRONOUS, RATE, PITCH, UTF_8 = 2, 1, 3, 1
"""Numbers of the header: samples are handed to us before a call returns; two parameters; how the text is encoded."""
Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Speaker:
    """The synthesiser; one a process, as the library keeps its state in globals."""

    def __init__(self) -> None:
        folder = PACKAGE.unpacked() / "espeakng_loader"
        self._library = ctypes.CDLL(str((folder / LIBRARIES[sys.platform]).absolute()))
        data = str(Path(folder / "espeak-ng-data").absolute()).encode()
        self.sampling_rate: int = self._library.espeak_Initialize(SYNCHRONOUS, 0, data, 0)
        self._parts: list[ndarray] = []
        self._keep = Callback(self._take)  # or it is collected while the library still calls it
        self._library.espeak_SetSynthCallback(self._keep)

    def say(self, text: str, *, voice: str, words_per_minute: int, pitch: int) -> Float[ndarray, " samples"]:
        """A text as samples in [-1, 1]; pitch from 0 to 99."""
        wrong = self._library.espeak_SetVoiceByName(voice.encode())
        assert wrong == 0, f"eSpeak NG has no voice {voice}"
        self._library.espeak_SetParameter(RATE, words_per_minute, 0)
        self._library.espeak_SetParameter(PITCH, pitch, 0)
        self._parts.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, UTF_8, None, None)
        return np.concatenate(self._parts) / np.float32(2**15)

    def _take(self, samples: "ctypes._Pointer[ctypes.c_short]", num_samples: int, events: int | None) -> int:
        if num_samples:
            self._parts.append(np.ctypeslib.as_array(samples, (num_samples,)).astype(np.float32))
        return 0
