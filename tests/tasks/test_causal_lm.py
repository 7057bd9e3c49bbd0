"""Causal language modelling against transformers' own loss, on every family of decoders, and in whole runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn import functional as F
from transformers import PreTrainedModel, pipeline

import luthier
from luthier.component import Facts
from luthier.errors import DataError, LuthierError, ModelError
from luthier.evaluation.predict import predict
from luthier.run import Run
from luthier.tasks import Batch
from luthier.tasks._templates import NAMED, choose_padding
from luthier.tasks._tokens import IGNORED
from luthier.tasks.causal_lm import CausalLM
from tests.templates import FORMATS, VOCABULARY, tokenizer
from tests.tiny import texts, tiny

FAMILIES = ("gpt2", "gpt_neox", "llama", "mistral", "qwen2", "gemma3_text", "phi3", "opt", "bloom", "mixtral")
PACKING = ("gpt2", "gpt_neox", "llama", "mistral", "qwen2", "gemma3_text", "phi3")
CHATS = [[("hi", "the reindeer"), ("and then?", "it ran")], [("what is it?", "a deer in the hills")], [("so", "no")]]


def model_for(family: str, **settings: Any) -> PreTrainedModel:
    positions = {"n_positions": 512} if family == "gpt2" else {}
    model = tiny(family, head="lm", **VOCABULARY | positions | {"pad_token_id": 280} | settings)
    model.config.use_cache = False
    return model


def chats(*asked: list[tuple[str, str]]) -> Dataset:
    roles = ("user", "assistant")
    rows = [
        json.dumps([{"role": role, "content": said} for pair in each for role, said in zip(roles, pair, strict=True)])
        for each in asked
    ]
    return Dataset.from_dict({"messages": rows})


def plain(num_rows: int, longest: int = 20) -> Dataset:
    return Dataset.from_dict({"text": texts(num_rows, longest=longest)})


def resolved(rows: Dataset, **settings: Any) -> CausalLM:
    return CausalLM.model_validate(settings).resolve(Facts(train=rows))


def batch(task: CausalLM, rows: Dataset, processor: Any, **how: Any) -> Batch:
    return task.collate(task.prepare(rows, processor, **how)[:], processor)


@pytest.mark.parametrize("rows", [chats(*CHATS), plain(4)], ids=["chats", "texts"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_mean_loss_is_transformers_own(family: str, rows: Dataset) -> None:
    task = resolved(rows)
    model, made = model_for(family), batch(task, rows, tokenizer(NAMED["plain"]))
    loss = task.loss(model, made)
    expected = model(**made.inputs, labels=made.targets).loss
    torch.testing.assert_close(loss.total.sum() / loss.count.sum(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "mixtral"])  # no experts in float64
def test_the_whole_gradient_is_transformers_own(family: str) -> None:
    rows = chats(*CHATS)
    task, model = resolved(rows), model_for(family).double()
    made = batch(task, rows, tokenizer(NAMED["plain"]))
    theirs = own_loss(model(**made.inputs).logits, made.targets)
    assert_equal_gradients(model, task.loss(model, made).total.sum(), theirs)


def own_loss(logits: torch.Tensor, labels: torch.Tensor, **how: Any) -> torch.Tensor:
    """Transformers' loss of a decoder, summed; its own would round logits of float64 to float32."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum", **how)


def assert_equal_gradients(
    model: PreTrainedModel, one: torch.Tensor, other: torch.Tensor, tolerance: float = 1e-10
) -> None:
    pairs = [torch.autograd.grad(loss, list(model.parameters()), allow_unused=True) for loss in (one, other)]
    for found, expected in zip(*pairs, strict=True):
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rows", [chats(*CHATS), plain(6)], ids=["chats", "texts"])
@pytest.mark.parametrize("family", PACKING)
def test_packed_rows_have_the_loss_and_gradient_of_separate_ones(family: str, rows: Dataset) -> None:
    separate, together = (resolved(rows, packing=packing, max_length=200) for packing in (False, True))
    model, processor = model_for(family).double(), tokenizer(NAMED["plain"])
    together.fit(model, processor)
    apart, packed = (batch(task, rows, processor, training=True) for task in (separate, together))
    assert packed.num_rows < apart.num_rows
    assert packed.num_tokens == apart.num_tokens
    assert "attention_mask" not in packed.inputs
    losses = [task.loss(model, made) for task, made in ((separate, apart), (together, packed))]
    assert losses[0].count.sum() == losses[1].count.sum()
    tolerance = 1e-5 if family == "gemma3_text" else 1e-10  # its norms compute in float32
    assert_equal_gradients(model, losses[0].total.sum(), losses[1].total.sum(), tolerance)
    torch.testing.assert_close(losses[0].total.sum(), losses[1].total.sum(), rtol=tolerance, atol=0)


def test_a_packed_row_tells_the_rows_it_is_of() -> None:
    rows = plain(6)
    prepared = resolved(rows, packing=True, max_length=200).prepare(rows, tokenizer(), training=True)
    assert sorted(np.hstack(prepared["row"][:]).tolist()) == list(range(6))


def test_a_family_that_cannot_pack_is_refused() -> None:
    with pytest.raises(ModelError, match=r"task.packing: opt .*say task.packing=false"):
        resolved(plain(2), packing=True).fit(model_for("opt"), tokenizer())


def test_label_smoothing_is_torchs_and_left_out_of_predictions() -> None:
    rows, processor, model = plain(4), tokenizer(), model_for("gpt2")
    smooth, sharp = (resolved(rows, label_smoothing=share) for share in (0.2, 0.0))
    made = batch(smooth, rows, processor)
    expected = own_loss(model(**made.inputs).logits, made.targets, label_smoothing=0.2)
    torch.testing.assert_close(smooth.loss(model, made).total.sum(), expected)
    assert smooth.predict(model, made, answers=False) == sharp.predict(model, made, answers=False)


@pytest.mark.parametrize("training", [True, False])
def test_windows_of_a_long_text_judge_every_token_but_the_first_once(training: bool) -> None:
    rows, processor = Dataset.from_dict({"text": ["abcdefghijklmnopqrstuvwxy", "ab", "abcdefgh"]}), tokenizer()
    prepared = resolved(rows, max_length=8).prepare(rows, processor, training=training)
    for number, text in enumerate(rows["text"]):
        parts = [row for row in prepared if row["row"] == number]
        judged = [token for part in parts for token in part["target"].tolist() if token != IGNORED]
        assert judged == processor(f"{text}</s>")["input_ids"][1:]
        assert all(len(part["input_ids"]) <= 8 for part in parts)
    assert not any(prepared["cut"])


def test_a_long_texts_windows_make_one_prediction() -> None:
    rows, processor, model = Dataset.from_dict({"text": ["abcdefghijklmnopqrs", "ab"]}), tokenizer(), model_for("gpt2")
    task = resolved(rows, max_length=8, generation={"max_new_tokens": 2})
    found = predict(model, task, task.prepare(rows, processor), processor, batch_size=2)
    assert [each.count for each in found] == [19, 2]
    assert all(isinstance(each.value, str) for each in found)


def test_an_end_that_also_pads_is_learnt() -> None:
    rows, processor = plain(3), tokenizer(pad_token="</s>")
    made = batch(resolved(rows), rows, processor)
    end = processor.eos_token_id
    assert ((made.targets == end).sum(-1) == 1).all()
    assert (made.inputs["input_ids"] == end).sum() > 3


@pytest.mark.parametrize(
    ("settings", "template", "chosen"),
    [
        ({}, None, "<pad>"),
        ({"pad_token": "</s>", "unk_token": "<unk>"}, None, "<unk>"),
        ({"pad_token": None, "extra_special_tokens": ["<|pad|>"]}, None, "<|pad|>"),
        (
            {"pad_token": "<|im_end|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"},
            "chatml",
            "<|endoftext|>",
        ),
        ({"pad_token": "</s>"}, None, "</s>"),
    ],
)
def test_padding_is_a_token_that_ends_no_text(settings: Any, template: str | None, chosen: str) -> None:
    processor = tokenizer(FORMATS[template].template if template else None, **settings)
    choose_padding(processor)
    assert processor.pad_token == chosen


def test_rows_that_lose_their_answer_are_counted_and_refused_or_left_out() -> None:
    rows = Dataset.from_dict({"prompt": ["a" * 50, "b"], "completion": ["c", "d"]})
    with pytest.raises(DataError, match=r"task.max_length: 1 of 2 training rows lose .* task.drop_cut=true"):
        resolved(rows, max_length=20).prepare(rows, tokenizer(), training=True)
    prepared = resolved(rows, max_length=20, drop_cut=True).prepare(rows, tokenizer(), training=True)
    assert prepared["row"][:].tolist() == [1]
    assert resolved(rows, max_length=20).prepare(rows, tokenizer())["cut"][:].tolist() == [True, False]


def test_answers_that_never_end_are_refused() -> None:
    rows = Dataset.from_dict({"prompt": ["a", "b"], "completion": ["c" * 50, "d" * 50]})
    with pytest.raises(DataError, match="never learn to stop"):
        resolved(rows, max_length=20).prepare(rows, tokenizer(), training=True)
    with pytest.raises(ModelError, match=r"say task\.add_end=false"):
        resolved(rows).fit(model_for("gpt2"), tokenizer(eos_token=None))


@pytest.mark.parametrize(
    ("rows", "settings", "told"),
    [
        (plain(2), {"learn": "last"}, "task.learn: last means nothing for text rows"),
        (plain(2), {"template": "plain"}, "task.template: plain means nothing"),
        (plain(2), {"generate": True}, "task.generate"),
        (chats(*CHATS), {"learn": "completion"}, "say all or last or everything"),
        (chats(*CHATS), {"template": "none"}, "chats need a template"),
    ],
)
def test_settings_that_mean_nothing_are_refused(rows: Dataset, settings: Any, told: str) -> None:
    with pytest.raises(LuthierError, match=told):
        resolved(rows, **settings)


def test_a_task_without_a_template_reads_no_chats() -> None:
    task = resolved(plain(2))
    with pytest.raises(DataError, match="these rows are chats"):
        task.prepare(chats(*CHATS), tokenizer())


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run_on(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> tuple[Run, list[dict[str, Any]]]:
    """A run of a base model without a template of its own, which has seen none of it."""
    model_for("llama", num_hidden_layers=2, bos_token_id=None, eos_token_id=None).save_pretrained(folder / "base")
    tokenizer().save_pretrained(folder / "base")
    records: list[dict[str, Any]] = []
    run = luthier.tune(
        model=str(folder / "base"),
        data={"train": str(write_rows(folder / "rows.jsonl", rows)), "test": 0.2, "duplicates": "keep"},
        task={"kind": "causal-lm", "generation": {"max_new_tokens": 12}, **settings},
        training={"epochs": 30, "batch_size": 8, "learning_rate": 2e-2, "precision": "fp32", "best": "last"},
        output=folder / "run",
        on_record=records.append,
    )
    return run, records


def answers_of_pipeline(run: Run, asked: Any) -> Any:
    generator = pipeline("text-generation", model=str(run.model_folder), device="cpu")
    return generator(asked, max_new_tokens=12, do_sample=False, return_full_text=False)[0]["generated_text"]


def test_a_run_on_chats_learns_to_answer_and_to_stop(tmp_path: Path) -> None:
    pairs = [(f"{word}?", f"it {word}") for word in ("ran", "hid", "fed")] * 8
    rows = [
        {"conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": said}]} for asked, said in pairs
    ]
    run, records = run_on(tmp_path, rows, generate=True)
    assert run.metrics["test"]["loss"]["value"] < 0.2
    assert run.metrics["test"]["rouge-l"]["value"] == pytest.approx(1.0)
    assert next(record for record in records if record["event"] == "self-check")["passed"]
    assert run.predict(["hid?"]) == [{"text": "it hid"}]
    assert answers_of_pipeline(run, [{"role": "user", "content": "hid?"}]).strip() == "it hid"


def test_a_run_on_plain_text_goes_on_with_it(tmp_path: Path) -> None:
    run, _ = run_on(tmp_path, [{"text": f"{'ab' * n} it ran in the hills"} for n in range(1, 25)], max_length=32)
    assert run.recipe.task.rows == "text"  # type: ignore[attr-defined]
    assert run.predict(["ab it ran in"]) == [{"text": " the hills"}]
    assert answers_of_pipeline(run, "ab it ran in") == " the hills"
    assert set(run.metrics["test"]) == {"perplexity", "token-accuracy", "loss"}
