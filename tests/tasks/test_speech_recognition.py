"""Speech recognition against transformers' own losses and decoding; its rows, vocabularies, languages and limits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from pydantic import ValidationError
from torch.nn import functional as F
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.data.columns import BadRow
from luthier.data.source import DataSource
from luthier.data.splits import load
from luthier.errors import DataError, ModelError, RecipeError
from luthier.models.source import ModelSource
from luthier.models.speech import character_tokenizer, settle_language
from luthier.tasks import Batch
from luthier.tasks.speech_recognition import SpeechRecognition
from tests.sounds import embedded, folder_of_clips, processor_of, rows, saved, spoken, tiny_speech
from tests.tiny import tiny

FAMILIES = ("whisper", "wav2vec2")
every_family = pytest.mark.parametrize("family", FAMILIES)


def task(**said: Any) -> SpeechRecognition:
    return SpeechRecognition.model_validate({"generation": {"max_new_tokens": 8}, **said})


def batch(family: str, data: Dataset, *, dtype: torch.dtype = torch.float32) -> Batch:
    processor = processor_of(family)
    made = task().collate(task().prepare(data, processor)[:], processor)
    floats = {name: tensor.to(dtype) for name, tensor in made.inputs.items() if tensor.is_floating_point()}
    return Batch(made.inputs | floats, made.targets, made.num_tokens, made.num_padding)


def clips(*said: str, text: str | None = None) -> Dataset:
    """Clips with the transcript that they should have, or another one."""
    return Dataset.from_dict({"audio": [embedded(spoken(t)) for t in said], "text": [text or t for t in said]})


def mean_loss(model: PreTrainedModel, made: Batch) -> torch.Tensor:
    """As transformers defines it for the model."""
    loss = task().loss(model, made)
    if model.config.is_encoder_decoder:
        return loss.total.sum() / loss.count.sum()
    return (loss.total / loss.count).mean() if model.config.ctc_loss_reduction == "mean" else loss.total.sum()


def exact_loss(model: PreTrainedModel, made: Batch) -> torch.Tensor:
    """Theirs in the model's own precision: their CTC computes in float32 whatever the model does."""
    if model.config.is_encoder_decoder:
        return model(**made.inputs, labels=made.targets).loss
    lengths = model._get_feat_extract_output_lengths(made.inputs["attention_mask"].sum(-1))
    num_tokens = (made.targets >= 0).sum(-1)
    log_probabilities = model(**made.inputs).logits.log_softmax(-1).transpose(0, 1)
    flat, how = made.targets[made.targets >= 0], model.config.ctc_loss_reduction
    return F.ctc_loss(log_probabilities, flat, lengths, num_tokens, blank=0, reduction=how)


CASES = [
    ("whisper", {}, 8),
    ("wav2vec2", {"ctc_loss_reduction": "sum"}, 8),
    ("wav2vec2", {"ctc_loss_reduction": "mean"}, 8),
    ("wav2vec2", {"feat_extract_norm": "group"}, 1),
]


@pytest.mark.parametrize(("family", "settings", "num_rows"), CASES)
def test_the_loss_is_transformers_own(family: str, settings: Any, num_rows: int) -> None:
    model, made = tiny_speech(family, **settings), batch(family, rows(num_rows))
    expected = model(**made.inputs, labels=made.targets).loss
    torch.testing.assert_close(mean_loss(model, made), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("family", "settings", "num_rows"), CASES)
def test_the_whole_gradient_is_transformers_own(family: str, settings: Any, num_rows: int) -> None:
    model = tiny_speech(family, **settings).double()
    made = batch(family, rows(num_rows), dtype=torch.float64)
    losses = (mean_loss(model, made), exact_loss(model, made))
    parameters = [p for p in model.parameters() if p.requires_grad]
    found, expected = (torch.autograd.grad(loss, parameters, allow_unused=True) for loss in losses)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        assert one is None or (one - other).abs().max() <= 1e-10


def test_padding_changes_nothing_where_a_group_norm_sees_it() -> None:
    model, made = tiny_speech("wav2vec2", feat_extract_norm="group"), batch("wav2vec2", rows(6))
    alone = torch.cat([task().loss(model, batch("wav2vec2", rows(6).select([i]))).total for i in range(6)])
    torch.testing.assert_close(task().loss(model, made).total, alone, rtol=1e-5, atol=1e-5)
    padded = model(**made.inputs, labels=made.targets).loss
    assert abs(padded - alone.sum()) > 1e-3


def test_targets_of_whisper_are_tokens_without_the_start_that_the_model_puts_before_them() -> None:
    processor = processor_of("whisper")

    def targets() -> list[str]:
        return processor.tokenizer.convert_ids_to_tokens(task().prepare(clips("ab"), processor)[0]["target"])

    assert targets() == ["<|notimestamps|>", "Ġ", "a", "b", "<|endoftext|>"]  # Ġ is the blank
    processor.tokenizer.set_prefix_tokens(language="en", task="translate")
    assert targets() == ["<|en|>", "<|translate|>", "<|notimestamps|>", "Ġ", "a", "b", "<|endoftext|>"]
    processor.tokenizer.language, processor.tokenizer.task = "chinese", "transcribe"
    assert targets()[-3:] == ["a", "b", "<|endoftext|>"]


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_greedy_decoding_is_the_tokenizers_own(norm: str) -> None:
    processor, data = processor_of("wav2vec2"), rows(6)
    model = tiny_speech("wav2vec2", feat_extract_norm=norm)
    prepared = task().prepare(data, processor)
    found = task().finish(task().predict(model, task().collate(prepared[:], processor)), prepared, processor)
    for number, prediction in enumerate(found):
        alone = processor.feature_extractor(prepared[number]["audio"], sampling_rate=16000, return_tensors="pt")
        chosen = model(**alone).logits.argmax(-1)[0]
        assert prediction.value == processor.tokenizer.decode(chosen)
    assert len({prediction.value for prediction in found}) > 1


def test_what_is_learnt_is_shown() -> None:
    for family, shown in (("whisper", "<|notimestamps|> ab c<|endoftext|>"), ("wav2vec2", "ab|c")):
        processor = processor_of(family)
        assert task().show(task().prepare(clips("ab c"), processor)[0], processor) == [(shown, True)]


@every_family
def test_lengths_are_the_positions_that_the_model_computes(family: str) -> None:
    model, made, data = tiny_speech(family), batch(family, rows(5)), rows(5)
    prepared = task().prepare(data, processor_of(family))
    encoder = model.get_encoder() if family == "whisper" else model.wav2vec2
    longest = encoder(**made.inputs).last_hidden_state.shape[1]
    assert max(prepared["length"][:]) == longest
    assert made.num_tokens + made.num_padding == longest * 5


@every_family
def test_masks_of_specaugment_follow_torchs_seed_and_spare_short_clips(family: str) -> None:
    masks = {"apply_spec_augment": True, "mask_time_prob": 0.4, "mask_time_length": 1, "layerdrop": 0.0}
    off = {
        name: 0.0 for name in ("dropout", "attention_dropout", "activation_dropout", "hidden_dropout", "final_dropout")
    }
    model, made = tiny_speech(family, **masks, **off).train(), batch(family, rows(4))

    def loss(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return task().loss(model, made).total.sum().detach()

    np.random.seed(1)
    expected = np.random.get_state()[1].tolist()
    assert loss(0) == loss(0) != loss(1)
    assert np.random.get_state()[1].tolist() == expected
    model.config.mask_time_length = 10_000
    torch.testing.assert_close(loss(0), task().loss(model.eval(), made).total.sum().detach(), rtol=1e-4, atol=1e-4)
    assert model.config.apply_spec_augment


def test_clips_beyond_the_models_limit_are_refused_or_cut_and_counted() -> None:
    processor, data = processor_of("whisper"), clips("ab", "abcd" * 15, "ab " * 10 + "a")
    with pytest.raises(
        DataError, match="2 of 3 rows cannot be used:\n  2 with a clip or a transcript beyond"
    ) as caught:
        task().prepare(data, processor)
    assert "row 1, row 2" in str(caught.value)
    prepared = task(long="cut").prepare(data, processor)
    assert prepared["cut"][:].tolist() == [False, True, True]
    assert [len(wave) for wave in prepared["audio"][:]] == [640, 16000, 620 * 16]
    assert [len(target) for target in prepared["target"][:]] == [5, 32, 32]


def test_what_ctc_cannot_align_or_write_is_counted() -> None:
    processor = processor_of("wav2vec2")
    clip = embedded(np.ones(30, np.float32))  # two frames
    data = Dataset.from_dict({"audio": [clip] * 5, "text": ["a", "ab", "aa", "a, b", "é"]})
    with pytest.raises(DataError) as caught:
        task().prepare(data, processor)
    assert str(caught.value).splitlines() == [
        "data: 3 of 5 rows cannot be used:",
        "  2 with too little sound for their transcript, which CTC cannot align with it: row 2, row 3",
        "  1 with characters that the tokenizer does not have (task.normalizer=basic takes punctuation away, "
        "task.vocabulary=train makes a new one): row 4",
    ]
    with pytest.raises(DataError, match="1 with too little sound"):
        task().prepare(Dataset.from_dict({"audio": [embedded(np.ones(3, np.float32))]}), processor)


def test_a_vocabulary_of_one_case_takes_texts_of_the_other() -> None:
    processor = processor_of("wav2vec2")
    assert task().prepare(clips("ab", text="AB"), processor)["target"][:].tolist() == [[3, 4]]
    processor.tokenizer = character_tokenizer("ABÉ'")
    assert task().prepare(clips("ab", text="aÉ"), processor)["target"][:].tolist() == [[3, 5]]
    processor.tokenizer = character_tokenizer("aB")
    assert task().prepare(clips("ab", text="aB"), processor)["target"][:].tolist() == [[3, 4]]


def test_the_vocabulary_is_that_of_the_training_rows() -> None:
    made = task(vocabulary="train", normalizer="basic").resolve(Facts(train=clips("a", text="Bé,  a|a!")))
    assert made.vocabulary == ("a", "b", "é")
    assert made.configuration() == {"vocab_size": 6}
    assert made.resolve(Facts(train=clips("c"))) == made
    made.require_targets(clips("a b", text="B, a"), "test")
    with pytest.raises(DataError, match=r"data\.test: 2 of 2 transcripts have characters .* 'x' in 2\. Mend"):
        made.require_targets(clips("a", "b", text="xx"), "test")


@pytest.mark.parametrize(
    ("family", "said", "message"),
    [
        ("whisper", {"language": "englisch"}, "Whisper knows no englisch; did you mean english"),
        ("whisper", {"vocabulary": ["a"]}, "only models that are trained by CTC"),
        ("wav2vec2", {"language": "en"}, "only Whisper is told a language"),
    ],
)
def test_settings_that_a_model_does_not_take_are_refused(family: str, said: Any, message: str, tmp_path: Path) -> None:
    saved(tmp_path / "base", family)
    with pytest.raises((RecipeError, ModelError), match=message):
        task(**said).load_processor(ModelSource(name=str(tmp_path / "base")))


def test_a_language_is_for_a_whisper_of_many_and_needed_there() -> None:
    model = tiny_speech("whisper")
    with pytest.raises(ModelError, match="one language alone"):
        settle_language(model, "english", "transcribe")
    model.generation_config.is_multilingual = True
    with pytest.raises(ModelError, match=r"say which, as in task\.language=english"):
        settle_language(model, None, "transcribe")
    settle_language(model, "English", "translate")
    assert (model.generation_config.language, model.generation_config.task) == ("english", "translate")


def test_a_whisper_of_many_languages_is_trained_and_asked_with_the_same_tokens(tmp_path: Path) -> None:
    saved(tmp_path / "whisper", "whisper")
    made = task(language="english", task_token="translate")
    processor = made.load_processor(ModelSource(name=str(tmp_path / "whisper")))
    model, numbers = tiny_speech("whisper"), processor.tokenizer.get_vocab()
    config = model.generation_config
    config.is_multilingual, config.lang_to_id = True, {"<|en|>": numbers["<|en|>"]}
    config.task_to_id = {name: numbers[f"<|{name}|>"] for name in ("transcribe", "translate")}
    config.no_timestamps_token_id = numbers["<|notimestamps|>"]
    made.fit(model, processor)
    begun: list[list[int]] = []
    model.model.decoder.register_forward_pre_hook(
        lambda module, args, given: begun.append(given["input_ids"][0].tolist()), with_kwargs=True
    )
    prepared = made.prepare(clips("ab"), processor)
    made.predict(model, made.collate(prepared[:], processor))
    prompt = [model.config.decoder_start_token_id, *prepared[0]["target"][:3].tolist()]
    assert prompt == begun[0] == processor.tokenizer.prefix_tokens


def test_a_model_that_was_never_taught_to_write_says_how_to_teach_it(tmp_path: Path) -> None:
    saved(tmp_path / "wav2vec2", "wav2vec2")
    for name in ("vocab.json", "tokenizer_config.json"):
        (tmp_path / "wav2vec2" / name).unlink()
    source = ModelSource(name=str(tmp_path / "wav2vec2"))
    with pytest.raises(ModelError, match=r"has no tokenizer.*task\.vocabulary=train gives it"):
        task().load_processor(source)
    processor = task(vocabulary=["a", "b"]).load_processor(source)
    assert processor.tokenizer.get_vocab() == {"[PAD]": 0, "[UNK]": 1, "|": 2, "a": 3, "b": 4}


def test_a_model_of_text_is_refused_with_those_that_hear(tmp_path: Path) -> None:
    tiny("bert", head="base").save_pretrained(tmp_path / "bert")
    with pytest.raises(
        ModelError, match=r"does not suit bert, .* it suits speech models \(Whisper, wav2vec2, HuBERT\)"
    ):
        task().load_processor(ModelSource(name=str(tmp_path / "bert")))


def test_several_characters_are_no_character() -> None:
    with pytest.raises(ValidationError):
        task(vocabulary=["ab"])


def test_bad_rows_are_told_with_their_place(tmp_path: Path) -> None:
    folder_of_clips(tmp_path, 2)
    (tmp_path / "bad.csv").write_text("path,transcript\n0.wav,a\n1.waf,b\nbad.csv,c\n1.wav,?!\n1.wav,\n")
    with pytest.raises(DataError) as caught:
        load(DataSource(train=str(tmp_path / "bad.csv"), validation=None), task(normalizer="basic").layouts(), seed=0)
    assert str(caught.value).splitlines()[:5] == [
        "data.train: 4 of 5 rows cannot be used:",
        "  bad.csv:3: audio: there is no file 1.waf; did you mean 1.wav?",
        f"  bad.csv:4: audio: {tmp_path}/bad.csv is no sound file that can be read: format not recognised",
        "  bad.csv:5: text is '?!', of which the basic normaliser leaves nothing",
        "  bad.csv:6: text is empty",
    ]


def test_a_rate_beside_the_numbers_is_read(tmp_path: Path) -> None:
    (layout,) = task().layouts()
    row = layout.read({"audio": [0.1, -0.1], "sampling_rate": 8000, "text": "a"}, None)
    assert row.keys() == {"audio", "text"}
    assert layout.read(row, None) == row
    with pytest.raises(BadRow, match="no sampling_rate"):
        layout.read({"audio": [0.1, -0.1]}, None)
