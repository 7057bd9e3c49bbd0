"""New words: only their rows learn, the old ones keep every bit; PEFT reads them; tied heads follow."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.errors import MethodError
from luthier.methods._new_rows import NewRows
from luthier.methods._parts import parts_of
from luthier.methods.lora import Lora
from luthier.models.blank import faking
from luthier.models.words import word_tables
from tests.methods.learnt import shake
from tests.runs import tiny_run
from tests.tiny import tiny, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's own
WORDS = ("<tool>", "<call>")
METHOD = Lora(rank=4, add_tokens=WORDS)
CASES = [("llama", False), ("llama", True), ("gpt2", True), ("t5", True), ("bert", True)]
every_case = pytest.mark.parametrize(("family", "tied"), CASES)
NEW = [64, 65]


def extended(family: str, tied: bool, method: Lora = METHOD) -> PreTrainedModel:
    model = tiny(family, head="lm", tie_word_embeddings=tied)
    method.extend(model, tokenizer())
    return model


def applied(family: str, tied: bool, method: Lora = METHOD) -> PreTrainedModel:
    model = extended(family, tied, method)
    method.apply(model, generator=torch.Generator().manual_seed(0))
    return model


def learnt(family: str, tied: bool, method: Lora = METHOD) -> PreTrainedModel:
    model = applied(family, tied, method)
    shake(model)
    return model.eval()


def answers(model: Any) -> Tensor:
    ids = torch.tensor([[1, 64, 7, 65], [9, 3, 64, 2]])
    decoder = {"decoder_input_ids": ids.flip(1)} if model.config.is_encoder_decoder else {}
    return model(input_ids=ids, **decoder).logits


@torch.no_grad()
def logits(model: Any) -> Tensor:
    return answers(model.eval())


def table(model: PreTrainedModel) -> Tensor:
    return next(iter(word_tables(model).values())).weight


@every_case
def test_new_rows_start_at_the_mean_and_old_ones_stay(family: str, tied: bool) -> None:
    before = table(tiny(family, head="lm", tie_word_embeddings=tied)).detach()
    model = extended(family, tied)
    head = model.get_output_embeddings()
    assert table(model).shape[0] == model.config.vocab_size == 66
    assert torch.equal(table(model)[:64], before)
    torch.testing.assert_close(table(model)[64:], before.mean(0).expand(2, -1))
    assert (head.weight is table(model)) == tied
    assert torch.isfinite(head.weight).all()
    assert head.bias is None or torch.isfinite(head.bias).all()


@every_case
def test_only_new_rows_learn(family: str, tied: bool) -> None:
    model = applied(family, tied)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    learning = {name for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for _ in range(3):
        answers(model).log_softmax(-1)[..., 3].sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name not in learning)
    for _, part in parts_of(model, NewRows):
        assert (part.rows != table(model)[64]).all(-1).all()
    assert sum(p.numel() for n, p in model.named_parameters() if "new_rows" in n) == (1 if tied else 2) * 2 * 32


@every_case
def test_with_new_rows_the_model_starts_as_the_extended_base(family: str, tied: bool) -> None:
    model = applied(family, tied)
    torch.testing.assert_close(logits(model), logits(extended(family, tied)), rtol=0, atol=1e-6)
    model = learnt(family, tied)
    assert not torch.allclose(logits(model), logits(extended(family, tied)), atol=1e-2)
    with METHOD.off(model):
        assert torch.equal(logits(model), logits(extended(family, tied)))


@every_case
def test_they_are_saved_loaded_and_folded(family: str, tied: bool, tmp_path: Path) -> None:
    ours = learnt(family, tied)
    METHOD.save(ours, tmp_path)
    method = Lora.read(tmp_path)
    assert method.add_tokens == WORDS
    again = applied(family, tied, method)
    method.load(again, tmp_path)
    assert_equal(logits(again), logits(ours))
    METHOD.fold(again)
    rounding = 1e-5 * max(1.0, logits(ours).abs().max().item())  # a T5's random logits are large
    torch.testing.assert_close(logits(again), logits(ours), rtol=0, atol=rounding)
    assert (again.get_output_embeddings().weight is table(again)) == tied
    again.save_pretrained(tmp_path / "model")
    torch.testing.assert_close(
        logits(type(again).from_pretrained(tmp_path / "model")), logits(ours), rtol=0, atol=rounding
    )


def assert_equal(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("family", "tied"), CASES[:-1])  # of BERT's tied head PEFT drops the bias
def test_peft_reads_them_on_a_base_that_was_resized(family: str, tied: bool, tmp_path: Path) -> None:
    ours = learnt(family, tied)
    METHOD.save(ours, tmp_path)
    base = tiny(family, head="lm", tie_word_embeddings=tied)
    base.resize_token_embeddings(66)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path)
    torch.testing.assert_close(logits(theirs), logits(ours), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("family", "tied"), CASES[1:4])
def test_we_read_pefts_rows_by_the_tokenizer_beside_them(family: str, tied: bool, tmp_path: Path) -> None:
    words = tokenizer()
    words.add_tokens(list(WORDS))
    targets = {"llama": "q_proj", "gpt2": "c_attn", "t5": "q"}
    said = {"target_modules": [targets[family]], "fan_in_fan_out": family == "gpt2"}
    config = peft.LoraConfig(trainable_token_indices=NEW, **said)
    theirs = peft.get_peft_model(extended(family, tied), config)
    shake(theirs)
    theirs.save_pretrained(tmp_path)
    with pytest.raises(MethodError, match=r"trainable_token_indices has 64, and no added_tokens\.json"):
        Lora.read(tmp_path)
    words.save_pretrained(tmp_path)
    method = Lora.read(tmp_path)
    assert method.add_tokens == WORDS
    ours = applied(family, tied, method)
    method.load(ours, tmp_path)
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=0, atol=1e-5)


def test_words_that_are_known_learn_from_where_they_are() -> None:
    method = Lora(rank=4, add_tokens=("w3", *WORDS))
    before = table(tiny("llama", head="lm"))
    model = applied("llama", False, method)
    rows = parts_of(model, NewRows)[0][1].rows
    assert torch.equal(rows[0], before[7])
    torch.testing.assert_close(rows[1], before.mean(0))
    torch.testing.assert_close(logits(model), logits(extended("llama", False, method)), rtol=0, atol=1e-6)


def test_a_table_with_room_to_spare_keeps_its_size() -> None:
    model, before = tiny("llama", head="lm", vocab_size=80), tiny("llama", head="lm", vocab_size=80)
    METHOD.extend(model, tokenizer())
    assert model.config.vocab_size == 80
    torch.testing.assert_close(table(model)[64], table(before)[:64].mean(0))
    assert torch.equal(table(model)[66:], table(before)[66:])


def test_new_rows_draw_nothing_from_the_global_generator() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    model = tiny("llama", head="lm")
    METHOD.extend(model, tokenizer())
    assert torch.equal(torch.get_rng_state(), before)


def test_it_works_on_tensors_without_numbers() -> None:
    words = tokenizer()
    with faking():
        model = tiny("llama", head="lm")
        METHOD.extend(model, words)
        METHOD.model_copy(update={"start": "pissa", "dora": True}).apply(model, generator=torch.Generator())
        assert answers(model).shape == (2, 4, 66)


@pytest.mark.parametrize("settings", [{"targets": ("embedding",)}, {"also_train": ("embedding",)}])
def test_a_table_learns_in_one_way(settings: dict[str, Any]) -> None:
    method = METHOD.model_copy(update=settings)
    with pytest.raises(MethodError, match=r"method\.add_tokens: model\.embed_tokens learn in another way already"):
        applied("llama", False, method)


def test_several_tables_are_refused() -> None:
    model = tiny("marian", head="lm", share_encoder_decoder_embeddings=False)
    with pytest.raises(MethodError, match=r"method\.add_tokens: this model has 2 tables of words that differ"):
        METHOD.extend(model, tokenizer())


def test_the_words_stand_beside_the_adapter(tmp_path: Path) -> None:
    METHOD.save(learnt("llama", False), tmp_path)
    assert json.loads((tmp_path / "added_tokens.json").read_text()) == {"<tool>": 64, "<call>": 65}


def test_a_run_with_new_words_answers_from_its_folder(tmp_path: Path) -> None:
    run, records = tiny_run(tmp_path, method={"kind": "lora", "rank": 4, "add_tokens": ["w99", "w98"]})
    assert next(record for record in records if record["event"] == "self-check")["passed"]
    model, words = run.load()
    assert len(words) == model.config.vocab_size == 66
    assert words("w99 w98")["input_ids"] == [1, 64, 65, 2]
    assert len(run.predict(["w0 w99"])) == 1


def test_a_model_that_hears_has_no_table_of_words() -> None:
    model = tiny("wav2vec2", head="lm")
    Lora(rank=4).apply(model, generator=torch.Generator())
    with pytest.raises(MethodError, match="this model has 0 tables of words"):
        METHOD.extend(model, tokenizer())


def test_rows_of_other_words_are_refused(tmp_path: Path) -> None:
    METHOD.save(learnt("llama", False), tmp_path)
    method = Lora(rank=4, add_tokens=("w1", "<tool>"))
    with pytest.raises(MethodError, match=r"has the rows of words \[64, 65\], but this model's .* \[5, 64\]"):
        method.load(applied("llama", False, method), tmp_path)


def test_a_head_that_is_tied_hears_of_new_rows() -> None:
    model = learnt("gpt2", True)
    part = parts_of(model, NewRows)[0][1]
    states = torch.randn(3, 32)
    told = model.lm_head(states)
    torch.testing.assert_close(told[:, 64:], states @ part.rows.T)
    torch.testing.assert_close(told[:, :64], nn.functional.linear(states, table(model)[:64]))
