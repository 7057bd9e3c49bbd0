"""Speech recognition, by a decoder and by CTC."""

from luthier.tasks._language import Generation
from luthier.tasks.speech_recognition import SpeechRecognition
from tests.contracts.examples._example import Example
from tests.sounds import processor_of, rows, tiny_speech


def _made(family: str) -> Example:
    return Example(
        family,
        SpeechRecognition(generation=Generation(max_new_tokens=8)),
        rows(12),
        tiny_speech,
        lambda side: processor_of(family),
        families=((family, "right"),),
    )


EXAMPLES = [_made("whisper"), _made("wav2vec2")]
