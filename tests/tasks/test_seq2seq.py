"""Text to text against transformers' own losses and generation, and what it makes of languages and of bad rows."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.nn import functional as F
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel

import luthier
from luthier.component import Facts
from luthier.data.source import DataSource
from luthier.data.splits import load
from luthier.errors import DataError, LuthierError, ModelError, RecipeError
from luthier.evaluation.predict import predict
from luthier.evaluation.score import metrics_of
from luthier.models.architecture import architecture
from luthier.run import Run
from luthier.tasks import Batch
from luthier.tasks.seq2seq import Seq2seq
from tests.contracts.examples.seq2seq import FAMILIES, TASK, build, rows, two_in_one
from tests.tiny import texts, tiny, tokenizer

every_family = pytest.mark.parametrize("family", [family for family, _ in FAMILIES])


def batch(task: Seq2seq = TASK) -> Batch:
    return task.collate(task.prepare(rows(), tokenizer())[:], tokenizer())


def own_loss(model: PreTrainedModel, made: Batch) -> torch.Tensor:
    loss: torch.Tensor = model(**made.inputs, labels=made.targets).loss
    return loss


@pytest.mark.filterwarnings("ignore:Version v4.12.0 introduces:FutureWarning")
@every_family
def test_the_mean_loss_is_transformers_own(family: str) -> None:
    model, made = build(family), batch()
    loss = TASK.loss(model, made)
    torch.testing.assert_close(loss.total.sum() / loss.count.sum(), own_loss(model, made), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Version v4.12.0 introduces:FutureWarning")
@every_family
def test_the_whole_gradient_is_transformers_own(family: str) -> None:
    model, made = build(family).double(), batch()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loss = TASK.loss(model, made)
    found = torch.autograd.grad(loss.total.sum() / loss.count.sum(), parameters, allow_unused=True)
    expected = torch.autograd.grad(own_loss(model, made), parameters, allow_unused=True)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or torch.allclose(ours, theirs, rtol=0, atol=1e-10)


def test_a_smoothed_loss_is_torchs_and_predictions_are_not_smoothed() -> None:
    task, model, made = TASK.model_copy(update={"label_smoothing": 0.2}), build("bart"), batch()
    logits = model(**made.inputs, labels=made.targets).logits
    expected = F.cross_entropy(logits.transpose(1, 2), made.targets, label_smoothing=0.2)
    loss = task.loss(model, made)
    torch.testing.assert_close(loss.total.sum() / loss.count.sum(), expected)
    assert task.predict(model, made, answers=False) == TASK.predict(model, made, answers=False)


@every_family
@pytest.mark.parametrize("num_beams", [1, 4])
def test_an_answer_is_what_generate_writes_for_the_row_alone(family: str, num_beams: int) -> None:
    task = Seq2seq.model_validate({"generation": {"num_beams": num_beams, "max_new_tokens": 8}})
    model, processor = build(family, task), tokenizer()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # so that answers differ: as it is, a random model hardly sees its input
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    data = rows().remove_columns("target")
    found = predict(model, task, task.prepare(data, processor), processor, batch_size=5)
    for prediction, text in zip(found, data["source"], strict=True):
        tokens = processor(text, return_tensors="pt")
        how: dict[str, Any] = {"max_new_tokens": 8, "num_beams": num_beams}
        (written,) = model.generate(**tokens, **how)  # type: ignore[operator]
        assert prediction.value == processor.decode(written, skip_special_tokens=True)
    assert len({prediction.value for prediction in found}) > 1


def test_the_model_counts_the_tokens_it_would_have_chosen() -> None:
    model, made = build("t5"), batch()
    chosen = model(**made.inputs, labels=made.targets).logits.argmax(-1)
    assert made.targets is not None
    expected = ((chosen == made.targets) & (made.targets != -100)).sum(-1).tolist()
    assert [p.hits for p in TASK.predict(model, made, answers=False)] == expected


def test_a_prefix_stands_before_each_source_and_cuts_are_counted_on_both_sides() -> None:
    task = Seq2seq.model_validate({"prefix": "w9 ", "max_source_length": 5, "max_target_length": 4})
    data = Dataset.from_dict({"source": ["w1 w2", "w1 w2 w3", "w1"], "target": ["w1 w2", "w1", "w1 w2 w3"]})
    prepared = task.prepare(data, tokenizer())
    assert [ids.tolist() for ids in prepared["input_ids"][:]] == [[1, 13, 5, 6, 2], [1, 13, 5, 6, 2], [1, 13, 5, 2]]
    assert [ids.tolist() for ids in prepared["target"][:]] == [[1, 5, 6, 2], [1, 5, 2], [1, 5, 6, 2]]
    assert prepared["cut"][:].tolist() == [False, True, True]
    assert task.references(prepared) == ["w1 w2", "w1", "w1 w2 w3"]
    assert task.show(prepared[1], tokenizer()) == [("[CLS] w9 w1 w2 [SEP]", False), ("[CLS] w1 [SEP]", True)]


def test_a_target_ends_where_its_tokenizer_ends_nothing() -> None:
    bare = tokenizer(eos_token="[SEP]")
    bare.backend_tokenizer.post_processor = None
    task = TASK.model_copy(update={"max_target_length": 3})
    prepared = task.prepare(Dataset.from_dict({"source": ["w1"] * 3, "target": ["w1", "w1 w2", "w1 w2 w3"]}), bare)
    assert [ids.tolist() for ids in prepared["target"][:]] == [[5, 2], [5, 6, 2], [5, 6, 2]]
    assert prepared["cut"][:].tolist() == [False, False, True]
    assert [ids.tolist() for ids in prepared["input_ids"][:]] == [[5]] * 3


def test_lengths_are_settled_with_the_model_and_an_answer_is_as_long_as_a_target() -> None:
    task = Seq2seq().resolve(Facts(train=rows(), num_positions=1024))
    assert (task.max_source_length, task.max_target_length) == (512, 128)
    assert (task.generation.max_new_tokens, task.generation.num_beams) == (128, 4)
    asked = Seq2seq.model_validate({"max_target_length": 40}).resolve(Facts(num_positions=1024))
    assert asked.generation.max_new_tokens == 40
    own = Seq2seq.model_validate({"generation": {"max_new_tokens": 9}}).resolve(Facts(num_positions=1024))
    assert (own.generation.max_new_tokens, own.generation.num_beams) == (9, 4)
    with pytest.raises(RecipeError, match=r"task.max_source_length: 600, but this model takes 512 at most"):
        Seq2seq.model_validate({"max_source_length": 600}).resolve(Facts(num_positions=512))


def test_translations_are_judged_as_such() -> None:
    plain, translation = Seq2seq(), Seq2seq(source_language="en", target_language="de")
    assert [m.name for m in metrics_of(plain.metrics)][:4] == ["rouge-1", "rouge-2", "rouge-l", "rouge-lsum"]
    assert [m.name for m in metrics_of(translation.metrics)][:3] == ["chrf", "bleu", "ter"]


def read(folder: Path, *told: Any, columns: dict[str, str] | None = None, **settings: Any) -> Dataset:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in told))
    source = DataSource(train=str(path), validation=None, columns=columns or {})
    return load(source, Seq2seq(**settings).layouts(), seed=0).train


@pytest.mark.parametrize(
    "names",
    [("source", "target"), ("document", "summary"), ("article", "highlights"), ("dialogue", "summary")],
)
def test_usual_columns_are_known(names: tuple[str, str], tmp_path: Path) -> None:
    found = read(tmp_path, {"id": 7, **dict(zip(names, ("long", "short"), strict=True))})
    assert found.to_list() == [{"source": "long", "target": "short"}]


@pytest.mark.parametrize("languages", [("en", "de"), ("en_XX", "de_DE"), ("eng_Latn", "deu_Latn"), ("EN", "de-AT")])
def test_a_translation_is_read_in_the_direction_that_is_said(languages: tuple[str, str], tmp_path: Path) -> None:
    said = dict(zip(("source_language", "target_language"), languages, strict=True))
    row = {"translation": {"de": "Hund", "en": "dog", "fr": "chien"}}
    assert read(tmp_path, row, **said).to_list() == [{"source": "dog", "target": "Hund"}]
    named = read(tmp_path, {"pair": row["translation"]}, columns={"translation": "pair"}, **said)
    assert named.to_list() == [{"source": "dog", "target": "Hund"}]


def test_a_translation_that_is_only_to_be_made_needs_no_target() -> None:
    layout = Seq2seq(source_language="en", target_language="de").layouts()[1].without_targets()
    assert layout.read({"translation": {"en": "dog"}}, None) == {"source": "dog"}
    assert layout.read({"source": "dog"}, None) == {"source": "dog"}


TWO = {"source_language": "en", "target_language": "de"}
BAD: list[tuple[dict[str, Any], dict[str, str], str]] = [
    ({"source": "", "target": "b"}, {}, "source is empty"),
    ({"source": "a", "target": "  "}, {}, "target is blank"),
    ({"source": "a", "target": None}, {}, "target is empty"),
    ({"source": "a", "target": 7}, {}, "target is 7, which is no text"),
    ({"translation": {"en": "a", "de": ""}}, TWO, "target is empty"),
    ({"translation": {"en": " ", "de": 5}}, TWO, "source is blank; target is 5, which is no text"),
    ({"translation": {"en": "a", "fr": "b"}}, TWO, "translation has no de; it has en, fr"),
    ({"translation": {}}, TWO, "translation has no en and no de; it has nothing"),
    ({"translation": {"en": "a", "de-AT": "b", "de-CH": "c"}}, TWO, "translation has no de; it has en, de-AT, de-CH"),
    ({"translation": "a"}, TWO, "translation must hold a text for each language"),
]


@pytest.mark.parametrize(("row", "said", "problem"), BAD, ids=[problem for *_, problem in BAD])
def test_a_bad_row_is_told_with_its_place(row: Any, said: dict[str, str], problem: str, tmp_path: Path) -> None:
    good = {"translation": {"en": "a", "de": "b"}} if "translation" in row else {"source": "a", "target": "b"}
    with pytest.raises(DataError, match=rf"1 of 2 rows cannot be used:\n  rows.jsonl:2: {problem}"):
        read(tmp_path, good, row, **said)


def test_a_translation_whose_direction_is_not_said_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"translation holds en, de; say which .* task.target_language=de"):
        read(tmp_path, {"translation": {"en": "a", "de": "b"}})


def test_a_file_without_targets_is_told_what_is_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"question, answer are none of the layouts .*: source, target; translation"):
        read(tmp_path, {"question": "a", "answer": "b"})


def test_two_models_put_together_are_an_encoder_decoder_that_begins_with_its_tokenizers_cls() -> None:
    model = two_in_one()
    assert architecture(model.config) == "encoder-decoder"
    assert model.config.decoder_start_token_id is None
    TASK.fit(model, tokenizer())
    assert model.config.decoder_start_token_id == model.generation_config.decoder_start_token_id == 1
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (2, 0)


def test_a_model_that_nothing_can_begin_or_end_is_refused() -> None:
    poor = tokenizer()
    poor.cls_token = poor.sep_token = None
    with pytest.raises(ModelError, match=r"nothing can begin an answer: encoder-decoder's config.json says no decoder"):
        TASK.fit(two_in_one(), poor)
    with pytest.raises(ModelError, match="nothing can end an answer"):
        TASK.fit(tiny("bart", head="lm"), poor)


def test_a_least_length_that_was_meant_for_other_texts_is_forgotten() -> None:
    model = tiny("bart", head="lm")
    assert model.generation_config is not None
    model.generation_config.update(min_length=56, max_length=142, num_beams=2)
    TASK.fit(model, tokenizer())
    assert (model.generation_config.min_length, model.generation_config.max_length) == (0, None)
    assert (model.generation_config.num_beams, model.generation_config.max_new_tokens) == (4, 6)


def write_base(folder: Path, family: str) -> Path:
    """A model as one finds it, before any task has touched it."""
    model = two_in_one() if family == "encoder-decoder" else tiny(family, head="lm")
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def tuned(folder: Path, family: str, method: str = "full") -> tuple[Run, list[dict[str, Any]]]:
    """A finished run on texts that become one of three words, and what it told."""
    pairs = [{"document": f"{text} w{n}", "summary": f"w{n % 3}"} for n, text in enumerate(texts(48, longest=6))]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    records: list[dict[str, Any]] = []
    run = luthier.tune(
        model=str(write_base(folder / "base", family)),
        data={"train": str(path), "test": 0.2},
        task={"kind": "seq2seq", "max_target_length": 8},
        method=method,
        training={"epochs": 8, "batch_size": 8, "learning_rate": 5e-3, "precision": "fp32", "seed": 1},
        output=str(folder / "run"),
        on_record=records.append,
    )
    return run, records


@pytest.mark.parametrize(("family", "method"), [("t5", "lora"), ("encoder-decoder", "full")])
def test_a_run_learns_and_what_it_saves_writes_the_same(family: str, method: str, tmp_path: Path) -> None:
    run, records = tuned(tmp_path, family, method)
    losses = [record["loss"] for record in records if record["event"] == "step"]
    assert losses[-1] < losses[0]
    assert next(record for record in records if record["event"] == "self-check")["passed"]
    assert {"rouge-1", "rouge-l", "chrf", "bleu", "loss", "perplexity"} <= run.metrics["test"].keys()
    assert "rouge-1" not in run.metrics["train"]

    sources = ["w1 w2 w3", "w7", "w50 w4 w4 w9 w11"]
    model = AutoModelForSeq2SeqLM.from_pretrained(run.model_folder)
    processor = AutoTokenizer.from_pretrained(run.model_folder)
    written = [model.generate(**processor(source, return_tensors="pt")) for source in sources]
    told = [answer["text"] for answer in run.predict(sources)]
    assert told == [processor.decode(ids[0], skip_special_tokens=True) for ids in written]
    assert all(told)


def test_a_task_does_not_suit_an_encoder(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match=r"seq2seq does not suit .*, which is bert, an encoder; it suits"):
        tuned(tmp_path, "bert")
