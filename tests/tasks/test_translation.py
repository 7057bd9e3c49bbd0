"""Languages of translation models: transformers' own tokenizers with few words, and tiny models of the real classes."""

import string
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoTokenizer,
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianTokenizer,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    NllbTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from luthier.errors import RecipeError
from luthier.evaluation.predict import predict
from luthier.models.source import ModelSource
from luthier.tasks._translation import codes_of, same_language, set_languages
from luthier.tasks.seq2seq import Seq2seq
from tests.tiny import tokenizer

START = ["<s>", "<pad>", "</s>", "<unk>"]
LETTERS = ["▁", *string.ascii_lowercase, *string.digits]
ROWS = Dataset.from_dict({"source": ["w1 w2", "w3"], "target": ["w4", "w5 w6 w7"]})
SIZES: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
}


def pieces(folder: Path) -> Path:
    """A SentencePiece model of letters."""
    sentencepiece = pytest.importorskip("sentencepiece")
    text = folder / "text"
    text.write_text("".join(f"w{number} {letter}\n" for number, letter in enumerate(LETTERS[1:])))
    how = {"model_type": "char", "pad_id": 1, "bos_id": 0, "eos_id": 2, "unk_id": 3, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(input=str(text), model_prefix=str(folder / "spm"), vocab_size=41, **how)
    return folder / "spm.model"


def vocabulary(folder: Path) -> Path:
    path = folder / "vocab.json"
    path.write_text("{" + ", ".join(f'"{piece}": {number}' for number, piece in enumerate([*START, *LETTERS])) + "}")
    return path


def made(kind: str, folder: Path) -> PreTrainedTokenizerBase:
    if kind == "nllb":
        return NllbTokenizer(vocab={piece: n for n, piece in enumerate([*START, *LETTERS])}, merges=[])
    if kind == "m2m100":
        return M2M100Tokenizer(vocab_file=str(vocabulary(folder)), spm_file=str(pieces(folder)))
    scored = [(piece, -float(number)) for number, piece in enumerate([*START, *LETTERS])]
    return {"mbart": MBartTokenizer, "mbart50": MBart50Tokenizer}[kind](vocab=scored)


def model_of(kind: str, num_tokens: int) -> PreTrainedModel:
    is_mbart = kind.startswith("mbart")
    config = (MBartConfig if is_mbart else M2M100Config)(vocab_size=num_tokens, **SIZES)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return (MBartForConditionalGeneration if is_mbart else M2M100ForConditionalGeneration)(config).eval()


KINDS = {
    "nllb": ("eng_Latn", "deu_Latn", "eng_Latn", "deu_Latn"),
    "m2m100": ("en", "de", "__en__", "__de__"),
    "mbart": ("en_XX", "de_DE", "en_XX", "de_DE"),
    "mbart50": ("en_XX", "de_DE", "en_XX", "de_DE"),
}
"""Of each, the codes of English and German and their tokens."""
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_a_language_is_a_code_of_the_model_or_a_plain_one(kind: str, tmp_path: Path) -> None:
    made(kind, tmp_path).save_pretrained(tmp_path)
    english, german, *_ = KINDS[kind]
    for said in (("en", "de"), (english, german)):
        task = Seq2seq(source_language=said[0], target_language=said[1])
        loaded: Any = task.load_processor(ModelSource(name=str(tmp_path)))
        assert (loaded.src_lang, loaded.tgt_lang) == (english, german)


@every_kind
def test_the_languages_are_saved_with_the_tokenizer(kind: str, tmp_path: Path) -> None:
    processor = made(kind, tmp_path)
    set_languages(processor, "de", "en")
    processor.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert again("w1")["input_ids"] == processor("w1")["input_ids"]
    assert again(text_target="w1")["input_ids"] == processor(text_target="w1")["input_ids"]


@every_kind
def test_texts_are_marked_with_their_languages_and_answers_begin_with_theirs(kind: str, tmp_path: Path) -> None:
    processor, task = made(kind, tmp_path), Seq2seq.model_validate({"generation": {"max_new_tokens": 6}})
    set_languages(processor, "en", "de")
    english, german = processor.convert_tokens_to_ids(list(KINDS[kind][2:]))
    prepared = task.prepare(ROWS, processor)
    at = -1 if kind == "mbart" else 0
    assert {ids[at] for ids in prepared["input_ids"][:]} == {english}
    assert {ids[at] for ids in prepared["target"][:]} == {german}
    assert all(processor.eos_token_id in ids for ids in prepared["target"][:])

    model = model_of(kind, 512)
    model.config.pad_token_id = processor.pad_token_id
    task.fit(model, processor)
    batch = task.collate(prepared[:], processor)
    loss = task.loss(model, batch)
    expected = model(**batch.inputs, labels=batch.targets).loss
    torch.testing.assert_close(loss.total.sum() / loss.count.sum(), expected, rtol=0, atol=1e-5)
    for prediction in task.predict(model, batch):
        assert prediction.value[: 2 if at == 0 else 1][-1] == german
    (first, _) = predict(model, task, prepared, processor, batch_size=2)
    alone = processor("w1 w2", return_tensors="pt")
    written = model.generate(**alone, max_new_tokens=6, num_beams=4)  # type: ignore[operator]
    assert first.value == processor.decode(written[0], skip_special_tokens=True)


def test_a_language_that_a_model_does_not_know_is_refused(tmp_path: Path) -> None:
    nllb, mbart = made("nllb", tmp_path), made("mbart", tmp_path)
    for processor, said, problem in [
        (nllb, ("zh", "de"), "source_language: this model knows no language zh; it has zho_Hans, zho_Hant"),
        (nllb, ("en", "deu_Latm"), "target_language: this model knows no language deu_Latm; it has deu_Latn"),
        (mbart, ("en", "xx"), "target_language: this model knows no language xx"),
        (mbart, ("en", None), "target_language: this model knows 25 languages; say both"),
        (mbart, (None, None), "source_language: this model knows 25 languages; say both"),
    ]:
        with pytest.raises(RecipeError, match=f"task.{problem}"):
            set_languages(processor, *said)


def test_a_model_that_marks_no_languages_takes_any() -> None:
    processor = tokenizer()
    assert codes_of(processor) == {}
    set_languages(processor, "en", "tlh")


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("de", ["en", "de"], "de"),
        ("de_DE", ["en", "de"], "de"),
        ("deu_Latn", ["en_XX", "de_DE"], "de_DE"),
        ("pt", ["pt-BR", "pt-PT"], None),
        ("pt-PT", ["pt-BR", "pt-PT"], "pt-PT"),
        ("es", ["est_Latn", "spa_Latn"], "spa_Latn"),
        ("srp_Latn", ["srp_Cyrl"], None),
        ("EN", ["en", "de"], "en"),
        ("tlh", ["en", "de"], None),
    ],
)
def test_codes_of_one_language_are_known_to_be_the_same(word: str, known: list[str], found: str | None) -> None:
    assert same_language(word, known) == found


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses:UserWarning")
def test_a_tokenizer_written_in_python_counts_its_cuts_too(tmp_path: Path) -> None:
    model = str(pieces(tmp_path))
    words = ["</s>", "<unk>", *LETTERS, "<pad>"]
    path = tmp_path / "vocab.json"
    path.write_text("{" + ", ".join(f'"{word}": {number}' for number, word in enumerate(words)) + "}")
    marian = MarianTokenizer(source_spm=model, target_spm=model, vocab=str(path), source_lang="en", target_lang="de")
    task = Seq2seq(max_source_length=6, max_target_length=4)
    data = Dataset.from_dict({"source": ["w1 w", "w1 w2", "w"], "target": ["w1", "w", "w12"]})
    prepared = task.prepare(data, marian)
    assert prepared["length"][:].tolist() == [6, 6, 3]
    assert prepared["cut"][:].tolist() == [False, True, True]
    assert all(ids[-1] == marian.eos_token_id for ids in [*prepared["input_ids"][:], *prepared["target"][:]])
