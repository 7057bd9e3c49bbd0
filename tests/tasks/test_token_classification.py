"""Token classification against transformers' own loss, and what becomes of words, windows and tags."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerFast, pipeline

from luthier.component import Facts
from luthier.errors import DataError, LuthierError, ModelError
from luthier.evaluation.predict import predict
from luthier.models.source import ModelSource
from luthier.tasks import Batch, Prediction
from luthier.tasks._sentences import read_spans
from luthier.tasks.token_classification import TokenClassification
from tests.contracts.examples.token_classification import spoken, tagged
from tests.runs import tiny_run
from tests.tiny import WORDS, tiny, tokenizer

FAMILIES = ("bert", "roberta", "distilbert", "albert", "electra", "deberta-v2", "modernbert")
DECODERS = ("gpt2", "gpt_neox", "llama", "mistral", "qwen2", "phi3")


def resolved(rows: Dataset, **settings: Any) -> TokenClassification:
    return TokenClassification.model_validate(settings).resolve(Facts(train=rows))


def model_for(task: TokenClassification, family: str = "bert", **settings: Any) -> PreTrainedModel:
    head = {"head": "token-classification", "num_labels": len(task.tags)}
    return tiny(family, **head, **task.configuration(), **settings)


def batch(task: TokenClassification, rows: Dataset) -> Batch:
    return task.collate(task.prepare(rows, tokenizer())[:], tokenizer())


def table(*rows: tuple[str, str]) -> Dataset:
    """Rows of words and tags, each written as one text."""
    return Dataset.from_dict({"tokens": [w.split() for w, _ in rows], "tags": [t.split() for _, t in rows]})


def letters(**settings: Any) -> PreTrainedTokenizerFast:
    """Sub-words of one character, in words that are cut at blanks; a hyphen alone is dropped."""
    numbers = {token: number for number, token in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *"abcdefgh"])}
    numbers |= {f"##{letter}": len(numbers) + number for number, letter in enumerate("abcdefgh")}
    words = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    words.normalizer = normalizers.Replace("-", "")
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", model_max_length=128, **settings)


def byte_level(texts: list[str], *, add_prefix_space: bool) -> PreTrainedTokenizerFast:
    """As GPT-2's: a blank belongs to the word behind it; no special tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="!", model_max_length=128)


@pytest.mark.parametrize("subwords", ["first", "all"])
@pytest.mark.parametrize("family", FAMILIES + DECODERS)
def test_the_mean_loss_and_its_gradient_are_transformers_own(family: str, subwords: str) -> None:
    task = resolved(tagged(6), label_subwords=subwords)
    made, model = batch(task, tagged(6)), model_for(task, family)
    loss = task.loss(model, made)
    torch.testing.assert_close(
        loss.total.sum() / loss.count.sum(), model(**made.inputs, labels=made.targets).loss, rtol=1e-5, atol=1e-5
    )
    ours, theirs = model.double(), copy.deepcopy(model).double()
    loss = task.loss(ours, made)
    (loss.total.sum() / loss.count.sum()).backward()
    told = theirs(**made.inputs, labels=made.targets)
    if told.loss.dtype != torch.float64:  # some families compute their loss in float32, whatever they are held in
        told.loss = F.cross_entropy(told.logits.flatten(0, 1), made.targets.flatten())
    told.loss.backward()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (one.grad is None) is (other.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-10)


def test_smoothing_is_torchs_and_no_prediction_knows_it() -> None:
    plain, smooth = resolved(tagged(6)), resolved(tagged(6), label_smoothing=0.2)
    model, made = model_for(plain), batch(plain, tagged(6))
    loss = smooth.loss(model, made)
    logits = model(**made.inputs).logits
    expected = F.cross_entropy(logits.flatten(0, 1), made.targets.flatten(), label_smoothing=0.2)
    torch.testing.assert_close(loss.total.sum() / loss.count.sum(), expected)
    assert smooth.predict(model, made) == plain.predict(model, made)


ROWS = table(("ab c -", "B-X I-X O"), ("- abc", "O B-Y"), ("- -", "B-Y I-Y"))


@pytest.mark.parametrize(
    ("subwords", "targets"),
    [
        ("first", [[-100, 1, -100, 2, -100], [-100, 3, -100, -100, -100], [-100, -100]]),
        ("all", [[-100, 1, 2, 2, -100], [-100, 3, 4, 4, -100], [-100, -100]]),
    ],
)
def test_which_subwords_learn_a_words_tag(subwords: str, targets: list[list[int]]) -> None:
    task = resolved(ROWS, label_subwords=subwords)
    assert task.tags == ("O", "B-X", "I-X", "B-Y", "I-Y")
    prepared = task.prepare(ROWS, letters())
    assert [row.tolist() for row in prepared["target"][:]] == targets
    assert not any(prepared["cut"][:])
    assert list(task.references(prepared)) == ROWS["tags"][:]


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_word_without_subwords_is_outside_and_shifts_no_other(side: str) -> None:
    task, processor = resolved(ROWS), letters(padding_side=side)
    model = model_for(task)
    found = predict(model, task, task.prepare(ROWS, processor), processor, batch_size=3)
    whole = [model(**processor(" ".join(words), return_tensors="pt")).logits[0].argmax(-1) for words in ROWS["tokens"]]
    firsts = [(1, 3, None), (None, 1), (None, None)]
    for prediction, chosen, places in zip(found, whole, firsts, strict=True):
        assert prediction.value == tuple("O" if at is None else task.tags[chosen[at]] for at in places)
        assert [score == 0 for score in prediction.scores] == [at is None for at in places]


def test_a_row_of_dropped_words_alone_is_read_without_special_tokens_too() -> None:
    processor = letters()
    processor.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    task = resolved(ROWS)
    assert task.prepare(ROWS, processor)["length"][:].tolist() == [3, 3, 1]
    found = predict(model_for(task), task, task.prepare(ROWS, processor), processor, batch_size=3)
    assert found[2] == Prediction(("O", "O"), (0.0, 0.0), 0.0, 0.0)


TEXT = "Dr. Ann-Lee O'Neil (of the UN) 3.5% taller, moved to Rome."


@pytest.mark.parametrize("adds_blank", [False, True])
def test_byte_level_words_are_tokens_as_in_their_text(adds_blank: bool) -> None:
    processor = byte_level([TEXT, "Ann moved to Rome with the UN " * 5], add_prefix_space=adds_blank)
    spans = [[TEXT.index(name), TEXT.index(name) + len(name), "X"] for name in ("UN", "Rome")]
    rows = Dataset.from_list([read_spans({"text": TEXT, "spans": spans})])
    prepared = resolved(rows).prepare(rows, processor)
    if not adds_blank:  # else the tokenizer itself puts one before each word
        assert prepared["input_ids"][0].tolist() == processor(TEXT)["input_ids"]
    joined = Dataset.from_dict({"tokens": [TEXT.split()], "tags": [["B-X"] * len(TEXT.split())]})
    prepared = resolved(joined).prepare(joined, processor)
    assert prepared["input_ids"][0].tolist() == processor(" ".join(TEXT.split()))["input_ids"]
    firsts = prepared["input_ids"][0][prepared["first_subwords"][0]]
    assert [processor.decode([first]).strip()[0] for first in firsts] == [word[0] for word in TEXT.split()]


def test_long_rows_are_windows_whose_answers_are_joined() -> None:
    rows = tagged(12, longest=60)
    task, processor = resolved(rows, max_length=16, stride=6), tokenizer()
    prepared = task.prepare(rows, processor)
    assert len(prepared) > 12
    assert max(prepared["length"][:]) == 16
    assert not any(prepared["cut"][:])
    assert list(task.references(prepared)) == rows["tags"][:]
    judged = np.bincount(prepared["row"][:], [sum(target != -100) for target in prepared["target"][:]])
    assert judged.tolist() == [len(words) for words in rows["tokens"]]
    found = predict(model_for(task), task, prepared, processor, batch_size=5)
    assert [len(p.value) for p in found] == [len(p.scores) for p in found] == [len(w) for w in rows["tokens"]]
    assert [p.count for p in found] == judged.tolist()


def test_of_a_word_longer_than_a_window_the_first_subwords_are_read() -> None:
    rows = table(("a " + "b" * 30 + " c", "O B-X O"))
    prepared = resolved(rows, max_length=10, stride=2).prepare(rows, letters())
    assert (prepared["length"][:].tolist(), prepared["cut"][:].tolist()) == ([10], [True])
    assert prepared["first_subwords"][0].tolist() == [1, 2, 8]


def test_a_stride_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(LuthierError, match=r"task\.stride: 8 tokens, and 2 special ones, leave nothing of .* 10"):
        resolved(ROWS, max_length=10, stride=8).prepare(ROWS, letters())


@pytest.mark.parametrize(
    ("rows", "settings", "scheme", "tags"),
    [
        (table(("a b", "B-Y I-X")), {"repair": True}, "iob2", ("O", "B-X", "I-X", "B-Y", "I-Y")),
        (table(("a b", "I-X B-X")), {}, "iob1", ("O", "B-X", "I-X")),
        (table(("a b", "U-X O")), {}, "bioes", ("O", "B-X", "I-X")),
        (table(("a b c", "VB O NN")), {}, "plain", ("O", "NN", "VB")),
        (table(("a b", "B-X O")), {"types": ["X", "A"], "scheme": "bio"}, "iob2", ("O", "B-X", "I-X", "B-A", "I-A")),
        (table(("a b", "B-X O")), {"labels": ["O", "B-X", "B-Z"]}, "iob2", ("O", "B-X", "I-X", "B-Z", "I-Z")),
    ],
)
def test_the_rows_tell_the_scheme_and_the_types(rows: Dataset, settings: Any, scheme: str, tags: Any) -> None:
    task = resolved(rows, **settings)
    assert (task.scheme, task.tags) == (scheme, tags)
    task.require_targets(rows, "train")
    assert task.configuration()["id2label"] == dict(enumerate(tags))


def test_illegal_tags_are_counted_and_repaired_where_asked() -> None:
    rows = table(
        ("he Smith said so", "O I-PER O O"), ("a b", "B-PER I-LOC"), ("a b", "B-PER I-PER"), ("c d", "O I-PER")
    )
    with pytest.raises(DataError) as caught:
        resolved(rows).require_targets(rows, "train")
    assert str(caught.value).splitlines() == [
        "data.train: 3 of 4 rows have tags in an order that is illegal in iob2:",
        "  I-PER after O in 2 rows, as in: he Smith said so",
        "  I-LOC after B-PER in 1 row, as in: a b",
        "Mend them, say task.scheme, or say task.repair=true, which reads them as conlleval does",
    ]
    task = resolved(rows, repair=True)
    task.require_targets(rows, "train")
    told = task.references(task.prepare(rows, letters()))
    assert told == [["O", "B-PER", "O", "O"], ["B-PER", "B-LOC"], ["B-PER", "I-PER"], ["O", "B-PER"]]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (("a b", "B-PER O"), ("a b", "B-PRE O"), "  'PRE' in 1 row; did you mean PER?"),
        (("a b", "B-PER O"), ("a b", "PER O"), "rows have tags that are none of iob2, which has O, and types behind"),
        (("a b", "B-PER O"), ("a b", "E-PER O"), "  'E-PER' in 1 row"),
        (("a b", "NOUN VERB"), ("a b", "NUON VERB"), "  'NUON' in 1 row; did you mean NOUN?"),
        (("a b", "U-PER O"), ("a b", "B-PER O"), "  O after B-PER in 1 row, as in: a b"),
        (("a b", "U-PER O"), ("a b", "O B-PER"), "  the end after B-PER in 1 row, as in: a b"),
    ],
)
def test_tags_that_training_lacks_are_refused(train: Any, test: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        resolved(table(train)).require_targets(table(test), "test")
    assert str(caught.value).startswith("data.test: 1 of 1 rows")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("tags", "settings", "message"),
    [
        ("O O", {}, "every word has the tag O; there is nothing to tell apart"),
        ("NN NN", {}, "every word has the tag NN"),
        ("B-X B-Y", {"types": ["X"]}, "task.types: the training rows have 'Y' too"),
    ],
)
def test_training_rows_that_teach_nothing_are_refused(tags: str, settings: Any, message: str) -> None:
    with pytest.raises(LuthierError, match=message):
        resolved(table(("a b", tags)), **settings)


def test_entities_are_told_with_their_place() -> None:
    task, answer = resolved(ROWS), Prediction(("B-X", "I-X", "I-Y", "B-Y"), (0.5, 0.7, 0.9, 0.8))
    place = {"type": "X", "text": "Ann Lee", "start": 0, "end": 7, "score": pytest.approx(0.6)}
    last = {"type": "Y", "text": "Rome", "start": 11, "end": 15, "score": 0.8}
    told = task.describe(answer, {"tokens": ["Ann", "Lee", "in", "Rome"]})["entities"]
    assert told == [place | {"first_word": 0, "last_word": 1}, last | {"first_word": 3, "last_word": 3}]
    assert task.describe(answer, {"text": "Ann Lee in Rome"})["entities"] == [place, last]
    words = resolved(spoken(2)).describe(Prediction(("NN", "VB"), (0.5, 1.0)), {"text": "Go!"})["tags"]
    assert words[1] == {"tag": "VB", "text": "!", "start": 2, "end": 3, "score": 1.0}


def test_entities_are_tallied_and_tokens_shown_with_their_tags() -> None:
    task = resolved(ROWS)
    prepared = task.prepare(ROWS, letters())
    assert task.tally(prepared) == {"X": 1, "Y": 2}
    assert task.show(prepared[1], letters())[1:4] == [("a/B-Y ", True), ("##b ", False), ("##c ", False)]


def test_a_tokenizer_written_in_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1, "<unk>": 2}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "config.json").write_text('{"model_type": "ctrl"}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "CTRLTokenizer"}')
    with pytest.raises(ModelError, match="is written in Python"):
        TokenClassification().load_processor(ModelSource(name=str(tmp_path)))


def test_a_run_learns_entities_and_its_pipeline_answers_as_it_does(tmp_path: Path) -> None:
    random, lines = np.random.default_rng(0), []
    for _ in range(120):
        words = random.choice(WORDS, size=random.integers(4, 9)).tolist()
        tags = [{"w0": "B-PER", "w1": "B-LOC"}.get(word, "O") for word in ("w0", *words[1:-1], "w1")]
        lines += [f"{word} x {tag}" for word, tag in zip(("w0", *words[1:-1], "w1"), tags, strict=True)] + [""]
    (tmp_path / "rows.conll").write_text("\n".join(lines))
    data = {"train": str(tmp_path / "rows.conll"), "test": 0.2}
    run, records = tiny_run(tmp_path, task="token-classification", data=data)
    first, *_, last = (record["loss"] for record in records if record["event"] == "step")
    assert last < 0.2 * first
    assert run.metrics["test"]["entity-f1"]["value"] == 1.0
    assert next(record for record in records if record["event"] == "self-check")["passed"]
    text = "w0 w7 w9 w1 w8"
    theirs = pipeline("token-classification", model=str(run.model_folder), aggregation_strategy="first")(text)
    (ours,), (words,) = run.predict([text]), run.predict([{"tokens": text.split()}])
    assert [(e["type"], e["start"], e["end"]) for e in ours["entities"]] == [("PER", 0, 2), ("LOC", 9, 11)]
    for one, other, word in zip(ours["entities"], theirs, words["entities"], strict=True):
        assert (one["type"], one["start"], one["end"]) == (other["entity_group"], other["start"], other["end"])
        assert one["score"] == pytest.approx(float(other["score"]), abs=1e-5) == word["score"]
