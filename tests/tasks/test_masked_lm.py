"""Masked language modelling against transformers' own loss, which tokens are drawn and when, and windows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast, pipeline

import luthier
from luthier.errors import ModelError
from luthier.evaluation.predict import predict
from luthier.tasks._tokens import IGNORED
from luthier.tasks.masked_lm import Maskable, MaskedLM
from tests.contracts.examples.masked_lm import build, with_mask
from tests.tiny import WORDS, texts, tiny, tokenizer

ENCODERS = ("bert", "roberta", "distilbert", "albert", "electra", "deberta-v2", "modernbert")
TASK = MaskedLM(max_length=24)
MASK = 63


def table(*written: str) -> Dataset:
    return Dataset.from_dict({"text": list(written)})


def batch(data: Dataset, task: MaskedLM = TASK, processor: PreTrainedTokenizerFast | None = None) -> Maskable:
    processor = processor or with_mask()
    made = task.collate(task.prepare(data, processor)[:], processor)
    assert isinstance(made, Maskable)
    return made


@pytest.mark.parametrize("family", ENCODERS)
def test_the_loss_is_transformers_own_and_so_is_its_gradient(family: str) -> None:
    made, model = batch(table(*texts(12, longest=60))), build(family)
    shown, labels = TASK.hide(made, anew=False)
    inputs = {**made.inputs, "input_ids": shown}
    loss = TASK.loss(model, made)
    expected = model(**inputs, labels=labels).loss
    torch.testing.assert_close(loss.total.sum() / loss.count.sum(), expected, rtol=1e-5, atol=1e-5)
    model = model.double()
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss = TASK.loss(model, made)
    ours = torch.autograd.grad(loss.total.sum() / loss.count.sum(), parameters, allow_unused=True)
    whole = F.cross_entropy(model(**inputs).logits.flatten(0, 1), labels.flatten())  # some families' own is in fp32
    theirs = torch.autograd.grad(whole, parameters, allow_unused=True)
    for found, other in zip(ours, theirs, strict=True):
        assert (found is None) == (other is None)
        if found is not None:
            torch.testing.assert_close(found, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
def test_tokens_are_drawn_masked_and_replaced_as_in_the_paper(training: bool) -> None:
    data = table(*(" ".join(np.random.default_rng(n).choice(WORDS[:50], size=100)) for n in range(200)))
    made = batch(data, MaskedLM(max_length=128))
    after, labels = TASK.hide(made, anew=training)
    drawn, before = labels != IGNORED, made.inputs["input_ids"]
    assert drawn.sum() / 20_000 == pytest.approx(0.15, abs=0.01)
    assert (after[drawn] == MASK).float().mean() == pytest.approx(0.8 + 0.1 / 64, abs=0.03)
    kept = (after[drawn] == before[drawn]).float().mean()
    assert kept == pytest.approx(0.1 + 0.1 / 64, abs=0.02)
    others = after[drawn & (after != MASK) & (after != before)]
    assert len(others.unique()) > 50
    torch.testing.assert_close(labels[drawn], before[drawn])
    torch.testing.assert_close(after[~drawn], before[~drawn])


def test_special_tokens_and_padding_are_never_drawn_and_every_row_has_one() -> None:
    made = batch(table("w1", "w1 unknown", f"w1 w2 {WORDS[-1]}", *texts(30)))
    for seed in range(20):
        torch.manual_seed(seed)
        shown, labels = TASK.hide(made, anew=True)
        special = (made.inputs["input_ids"] < 4) | (made.inputs["input_ids"] == MASK)
        assert (labels[special] == IGNORED).all()
        assert (shown[special] == made.inputs["input_ids"][special]).all()
        assert ((labels != IGNORED).sum(-1) > 0).all()


def test_training_draws_anew_by_torchs_seed_and_evaluation_by_the_tokens() -> None:
    made = batch(table(*texts(12)))
    model = tiny("bert", head="lm", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

    def drawn(training: bool, seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return TASK.loss(model.train(training), made).total

    assert torch.equal(drawn(True, 1), drawn(True, 1))
    assert not torch.equal(drawn(True, 1), drawn(True, 2))
    assert torch.equal(drawn(False, 1), drawn(False, 2))
    state = torch.get_rng_state()
    TASK.loss(model.eval(), made)
    assert torch.equal(state, torch.get_rng_state())


def test_evaluation_draws_the_same_whatever_stands_beside() -> None:
    data = table(*texts(12))
    together = TASK.hide(batch(data), anew=False)[1]
    for number, row in enumerate(together):
        alone = TASK.hide(batch(data.select([number])), anew=False)[1][0]
        assert row[row != IGNORED].tolist() == alone[alone != IGNORED].tolist()


def word_pieces() -> PreTrainedTokenizerFast:
    """Words that begin with w and have as many pieces as letters follow."""
    words = {each: n for n, each in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "w", "##a", "##b", "##c"])}
    made = Tokenizer(WordPiece(words, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=128, mask_token="[MASK]", **special)


def test_whole_words_are_drawn_or_not() -> None:
    data = table(*(" ".join(["wabc", "wab", "w", "wcab"] * 6) for _ in range(20)))
    task, processor = MaskedLM(max_length=24, whole_words=True), word_pieces()
    made = batch(data, task, processor)
    prepared = task.prepare(data, processor)
    num_parts = 0
    for _ in range(5):
        drawn = task.hide(made, anew=True)[1] != IGNORED
        for row, units, length in zip(drawn, prepared["units"][:], prepared["length"][:], strict=True):
            by_word: dict[int, set[bool]] = {}
            for unit, is_drawn in zip(units, row[:length].tolist(), strict=True):
                by_word.setdefault(int(unit), set()).add(is_drawn)
            assert all(len(fates) == 1 for fates in by_word.values())
            num_parts += len(by_word)
    assert num_parts > 1000
    apart = TASK.hide(batch(data, TASK, processor), anew=True)[1] != IGNORED
    assert (apart[:, 1] != apart[:, 2]).any()  # of the first word's four pieces


def test_long_texts_become_windows_that_lose_nothing() -> None:
    words = " ".join(WORDS[:50])
    prepared = TASK.prepare(table(words, "w1"), with_mask())
    assert prepared["row"][:].tolist() == [0, 0, 0, 1]
    assert [n for ids in prepared["input_ids"][:3] for n in ids if n > 2] == list(range(4, 54))
    assert not prepared["cut"][:].any()


def test_a_text_with_masks_is_filled_and_another_is_judged() -> None:
    model, processor = build("bert"), with_mask()
    data = table(f"w1 {WORDS[-1]} w2 {WORDS[-1]}", "w1 w2 w3")
    filled, judged = predict(model, TASK, TASK.prepare(data, processor), processor, batch_size=2)
    told = TASK.describe(filled, data[0])["fillings"]
    logits = model(**processor([data[0]["text"]], return_tensors="pt")).logits[0, [2, 4]].softmax(-1).detach()
    for mine, theirs in zip(told, logits, strict=True):
        assert [each["token"] for each in mine] == [processor.decode([n]) for n in theirs.topk(5).indices]
        assert [each["score"] for each in mine] == pytest.approx(theirs.topk(5).values.tolist(), abs=1e-5)
    assert TASK.describe(judged, data[1]) == {"loss": judged.loss / judged.count, "tokens": judged.count}


def test_fillings_of_windows_are_joined_in_their_order() -> None:
    model, processor = build("bert"), with_mask()
    data = table(" ".join([*WORDS[:30], WORDS[-1], *WORDS[:25], WORDS[-1]]))
    found = predict(model, TASK, TASK.prepare(data, processor), processor, batch_size=4)[0]
    assert [len(tokens) for tokens in found.value] == [5, 5]
    assert len(found.scores) == 10
    assert len(TASK.describe(found, data[0])["fillings"]) == 2


def test_a_tokenizer_without_a_mask_is_refused() -> None:
    with pytest.raises(ModelError, match="no mask token"):
        TASK.fit(build("bert"), tokenizer())


def tuned(folder: Path, output: str, **settings: Any) -> tuple[luthier.Run, list[Any]]:
    base, path = folder / "base", folder / "rows.txt.csv"
    if not base.exists():
        tiny("bert", head="lm").save_pretrained(base)
        with_mask().save_pretrained(base)
        random = np.random.default_rng(0)
        lines = (" ".join(["w1 w2 w3 w4"] * random.integers(2, 8) + [WORDS[random.integers(59)]]) for _ in range(200))
        path.write_text("text\n" + "\n".join(dict.fromkeys(lines)) + "\n")
    records: list[Any] = []
    training = {"epochs": 6, "batch_size": 16, "learning_rate": 5e-3, "precision": "fp32", "seed": 1}
    arguments: dict[str, Any] = {
        "model": str(base),
        "data": {"train": str(path), "test": 0.1},
        "task": {"kind": "masked-lm", "max_length": 24},
        "training": training | settings,
        "output": folder / output,
    }
    return luthier.tune(**arguments, on_record=records.append), records


def test_a_run_learns_a_fields_words_and_its_model_loads_in_transformers(tmp_path: Path) -> None:
    run, records = tuned(tmp_path, "run")
    losses = [record["loss"] for record in records if record["event"] == "step"]
    assert losses[-1] < losses[0] / 2
    assert any(record["event"] == "self-check" and record["passed"] for record in records)
    text = f"w1 w2 {WORDS[-1]} w4 w1 w2 w3 w4"
    told = run.predict([text])[0]["fillings"][0]
    theirs = pipeline("fill-mask", model=str(run.model_folder))(text)
    assert told[0]["token"] == theirs[0]["token_str"] == "w3"
    assert told[0]["score"] == pytest.approx(theirs[0]["score"], abs=1e-5)
    again, others = tuned(tmp_path, "again")
    assert [record["loss"] for record in others if record["event"] == "step"] == losses
    assert again.metrics == run.metrics


def test_a_batch_moved_keeps_what_draws_are_made_of() -> None:
    made = batch(table("w1 w2"))
    assert isinstance(made.to("cpu"), Maskable)
    assert replace(made).units is made.units
