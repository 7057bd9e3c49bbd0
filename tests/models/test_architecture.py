"""What a model is built as, read from its configuration, and which tasks it is refused for."""

import pytest
from transformers import AutoConfig, EncoderDecoderConfig

from luthier.errors import ModelError
from luthier.models.architecture import architecture, require_fit
from tests.tiny import FAMILIES

BUILT = {
    "encoder": {"bert", "roberta", "distilbert", "albert", "electra", "deberta-v2", "modernbert"},
    "encoder-decoder": {"t5", "bart", "marian"},
    "speech": {"whisper", "wav2vec2"},
}


def config_of(family: str) -> object:
    return AutoConfig.for_model(family, **FAMILIES[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_known_for_what_it_is(family: str) -> None:
    expected = next((built for built, families in BUILT.items() if family in families), "decoder")
    assert architecture(config_of(family)) == expected  # type: ignore[arg-type]


def test_two_encoders_put_together_are_an_encoder_decoder() -> None:
    both = EncoderDecoderConfig.from_encoder_decoder_configs(config_of("bert"), config_of("bert"))  # type: ignore[arg-type]
    assert architecture(both) == "encoder-decoder"


REFUSED = [
    ("t5", "AutoModelForTokenClassification", ("encoder", "decoder"), "an encoder-decoder", "encoders (BERT, "),
    ("bert", "AutoModelForSeq2SeqLM", ("encoder-decoder",), "an encoder", "encoder-decoders (T5, BART, "),
    ("whisper", "AutoModelForCausalLM", ("decoder",), "a speech model", "decoders (GPT-2, "),
    ("llama", "AutoModelForSpeechSeq2Seq", ("speech",), "a decoder", "speech models (Whisper, "),
    ("marian", "AutoModelForSequenceClassification", ("encoder", "encoder-decoder"), "an encoder-decoder", "encoders"),
]


@pytest.mark.parametrize(("family", "auto_model", "suits", "built", "fitting"), REFUSED, ids=lambda value: str(value))
def test_a_task_that_does_not_suit_is_refused_with_the_models_it_suits(
    family: str, auto_model: str, suits: tuple[str, ...], built: str, fitting: str
) -> None:
    with pytest.raises(ModelError) as refused:
        require_fit(config_of(family), auto_model, suits, "some-task", "some/model")  # type: ignore[arg-type]
    told = str(refused.value)
    assert told.startswith(f"task: some-task does not suit some/model, which is {family}, {built}; it suits {fitting}")


def test_a_task_that_suits_is_let_through() -> None:
    require_fit(config_of("bert"), "AutoModelForMaskedLM", ("encoder",), "masked-lm", "m")  # type: ignore[arg-type]
