"""What a prefix is: learnt keys and values in every attention unit, in every family that can have them."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, StaticCache

from luthier.component import Facts
from luthier.errors import MethodError
from luthier.methods._parts import parts_of
from luthier.methods._prefix import Prefix as Part
from luthier.methods.prefix import Prefix
from luthier.models import flat_trial, forward
from luthier.models.arithmetic import computing
from luthier.models.checkpointing import checkpointed
from luthier.models.packed import can_pack
from tests.methods import before_rows
from tests.methods.before_rows import BOTH, DECODERS, GEMMA2, inputs, tokens
from tests.tiny import FAMILIES, tiny, tokenizer

ENCODERS = ("bert", "roberta", "distilbert", "albert", "electra", "modernbert")
LENGTH = 3


@pytest.fixture(autouse=True)
def gemma2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "gemma2", GEMMA2)


def learnt(family: str, *, head: str = "lm", method: Prefix | None = None, **settings: Any) -> PreTrainedModel:
    """A model whose prefixes are far from their start."""
    return before_rows.learnt(family, head, method or Prefix(length=LENGTH), **settings)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_is_over_learnt_keys_and_values_and_the_rows_own(attention: str) -> None:
    model = learnt("bert", attn_implementation=attention, num_hidden_layers=1, method=Prefix(length=1))
    ((unit, part),) = parts_of(model, Part)
    layer, x = model.bert.encoder.layer[0], torch.randn(1, 5, 32)
    answer = layer.attention.self(x)[0][0]

    def heads(states: Tensor) -> Tensor:
        return states.view(-1, 4, 8).transpose(0, 1)

    with torch.no_grad():
        q, k, v = (heads(linear(x[0])) for linear in (unit.query, unit.key, unit.value))
        k, v = torch.cat([heads(part.key), k], 1), torch.cat([heads(part.value), v], 1)
        expected = (q @ k.transpose(1, 2) / 8**0.5).softmax(-1) @ v
    torch.testing.assert_close(answer, expected.transpose(0, 1).reshape(5, 32), rtol=0, atol=1e-6)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS, *BOTH])
def test_a_padded_row_is_answered_as_alone_and_every_prefix_learns(family: str, attention: str) -> None:
    if (family, attention) == ("gemma2", "sdpa"):
        attention = "eager"  # its cap is in no kernel
    model = learnt(family, attn_implementation=attention)
    ids, mask = tokens(), torch.ones(2, 7, dtype=torch.long)
    mask[1, 4:] = 0
    ids = ids.masked_fill(mask == 0, model.config.pad_token_id)
    padded = model(**inputs(model, ids, mask)).logits
    alone = model(
        **{**inputs(model, ids[1:, :4]), **({} if family not in BOTH else {"decoder_input_ids": ids[1:, :5]})}
    )
    length = alone.logits.shape[1]
    torch.testing.assert_close(padded[1, :length], alone.logits[0], rtol=0, atol=1e-5)
    padded.square().sum().backward()
    parts = [part for _, part in parts_of(model, Part)]
    assert parts
    assert all(p.grad is not None and p.grad.any() for part in parts for p in part.parameters())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", DECODERS)
def test_rows_without_padding_are_causal(family: str, attention: str) -> None:
    model = learnt(family, attn_implementation="eager" if family == "gemma2" else attention)
    ids = tokens()
    whole = model(input_ids=ids).logits
    torch.testing.assert_close(whole, model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits)
    torch.testing.assert_close(whole[:, :4], model(input_ids=ids[:, :4]).logits, rtol=0, atol=1e-5)


def generated(model: PreTrainedModel, ids: Tensor, mask: Tensor, **how: Any) -> Tensor:
    written: Tensor = model.generate(  # type: ignore[operator]
        input_ids=ids, attention_mask=mask, max_new_tokens=6, min_new_tokens=6, do_sample=False, pad_token_id=0, **how
    )
    return written


@pytest.mark.parametrize("positions", ["own", "shifted"])
@pytest.mark.parametrize("family", [*DECODERS, *BOTH])
def test_generation_is_the_same_with_any_cache_and_padded_on_the_left(family: str, positions: Any) -> None:
    if positions == "shifted" and family in ("bart", "marian"):
        pytest.skip("has no positions that can be said, and is refused")
    # Wide weights: else every row is answered with the same word.
    method = Prefix(length=LENGTH, positions=positions)
    model = learnt(family, method=method, **({} if family == "t5" else {"initializer_range": 0.4}))
    ids, mask = tokens(), torch.ones(2, 7, dtype=torch.long)
    side = slice(0, 3) if family in DECODERS else slice(4, 7)
    mask[1, side] = 0
    ids = ids.masked_fill(mask == 0, 0)
    without = generated(model, ids, mask, use_cache=False)
    assert torch.equal(generated(model, ids, mask), without)
    assert torch.equal(generated(model, ids, mask, cache_implementation="static"), without)
    if family in DECODERS:
        alone = generated(model, ids[1:, 3:], mask[1:, 3:])
        assert family == "opt" or torch.equal(alone[0, 4:], without[1, 7:])


def test_a_static_cache_of_ones_own_serves() -> None:
    model, ids = learnt("llama"), tokens()
    cache = StaticCache(config=model.config, max_cache_len=16)
    first = model(input_ids=ids[:, :4], past_key_values=cache, use_cache=True).logits
    second = model(input_ids=ids[:, 4:], past_key_values=cache, use_cache=True).logits
    torch.testing.assert_close(torch.cat([first, second], 1), model(input_ids=ids, use_cache=False).logits)


@pytest.mark.parametrize(("family", "named"), [("deberta-v2", "deberta-v2"), ("bloom", "bloom")])
def test_a_family_that_passes_over_the_interface_is_refused_with_what_to_do(family: str, named: str) -> None:
    with pytest.raises(MethodError, match=f"{named} computes .* by itself; say prompt, or lora"):
        Prefix().apply(tiny(family), generator=torch.Generator())


def test_a_kernel_that_takes_no_prefix_is_refused_by_name() -> None:
    model = tiny("bert")
    model.config._attn_implementation_internal = "flex_attention"
    with pytest.raises(MethodError, match="flex_attention takes no prefix; say sdpa or eager"):
        Prefix().apply(model, generator=torch.Generator())


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_checkpointing_leaves_gradients_as_they_are(family: str) -> None:
    found = []
    for what in (None, "blocks"):
        model = learnt(family, **({"dropout_rate": 0.0} if family == "t5" else {})).train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # what is drawn anew has a test of its own
        model.config.use_cache = False
        with checkpointed(model, what):  # type: ignore[arg-type]
            model(**inputs(model, tokens())).logits.square().sum().backward()
        found.append([p.grad for p in model.parameters() if p.requires_grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_a_step_in_bf16_is_near_one_in_fp32(family: str) -> None:
    gradients = []
    for precision in ("fp32", "bf16"):
        model = learnt(family)
        with computing(model, precision) as context, context():
            model(**inputs(model, tokens())).logits.float().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for _, part in parts_of(model, Part) for p in part.parameters()]))
    assert all(p.dtype == torch.float32 for p in gradients)
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.98


def test_a_base_held_in_bf16_computes_in_it() -> None:
    model = tiny("llama", head="lm").to(torch.bfloat16)
    Prefix(length=LENGTH).apply(model, generator=torch.Generator().manual_seed(0))
    assert model(input_ids=tokens()).logits.dtype == torch.bfloat16


@pytest.mark.parametrize("family", ["gpt2", "bert", "t5", "llama"])
def test_flat_rows_are_the_same_or_refused(family: str) -> None:
    model, ids = learnt(family), tokens()
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    model.config.use_cache = False
    padded = forward.hidden(model, inputs(model, ids, mask))["last_hidden_state"]
    flat_trial.lay_flat(model)
    laid = forward.hidden(model, inputs(model, ids, mask))["last_hidden_state"]
    real = mask.bool()[:, : laid.shape[1]]
    torch.testing.assert_close(laid[real], padded[real], rtol=0, atol=1e-5)


def test_the_network_makes_keys_and_values_and_only_they_are_saved(tmp_path: Path) -> None:
    method = Prefix(length=LENGTH, reparametrize=16)
    model, again = learnt("bert", head="sequence-classification", method=method), tiny("bert")
    method.save(model, tmp_path)
    method.apply(again, generator=torch.Generator().manual_seed(3))
    names = {name for name, p in again.named_parameters() if p.requires_grad}
    assert "bert.embeddings.word_embeddings.prefix_source.vectors" in names
    method.load(again, tmp_path)
    ids = tokens()
    assert torch.equal(again(input_ids=ids).logits, model(input_ids=ids).logits)
    assert not any("prefix_source" in name for name, _ in again.named_parameters())
    assert Prefix.read(tmp_path) == Prefix(length=LENGTH)


@pytest.mark.parametrize(("family", "positions"), [("llama", "own"), ("llama", "shifted"), ("gpt2", "shifted")])
def test_a_start_from_text_is_the_base_that_has_read_the_text(family: str, positions: Any) -> None:
    text, ids = torch.tensor([[7, 30, 12, 9]]), tokens(1)
    method = Prefix(length=4, start="text", tokens=tuple(text[0].tolist()), positions=positions)
    model, base = tiny(family, head="lm"), tiny(family, head="lm")
    method.apply(model, generator=torch.Generator())
    expected = base(input_ids=torch.cat([text, ids], 1)).logits[:, 4:]
    torch.testing.assert_close(model(input_ids=ids).logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "t5", "opt", "bart"])
def test_a_start_from_text_serves_every_architecture(family: str) -> None:
    method = Prefix(length=5, start="text", tokens=(7, 30, 12, 9, 7))
    model = tiny(family, head="lm")
    method.apply(model, generator=torch.Generator())
    assert all(part.key.shape[0] == 5 and part.key.any() for _, part in parts_of(model, Part))


def test_a_text_is_tokenised_once_and_repeats_the_run() -> None:
    method = Prefix(length=5, start="text", text="w3 w9").resolve(Facts(processor=tokenizer()))
    assert method.tokens == (7, 13, 7, 13, 7)
    assert method.resolve(Facts(processor=tokenizer())) == method
    with pytest.raises(MethodError, match=r"method\.tokens: .*resolve the recipe first"):
        Prefix(start="text", text="w3").apply(tiny("bert"), generator=torch.Generator())


@pytest.mark.parametrize("said", [{"start": "text"}, {"text": "a"}, {"start": "text", "text": "a", "reparametrize": 8}])
def test_settings_that_mean_nothing_together_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="text"):
        Prefix.model_validate(said)


def test_dropout_is_only_for_training() -> None:
    model = learnt("bert", method=Prefix(length=LENGTH, dropout=0.5))
    part = parts_of(model.eval(), Part)[0][1]
    key, _ = part.states()
    assert torch.equal(key, part.plain()[0])
    assert not torch.equal(part.train().states()[0], part.plain()[0])


def test_too_long_a_row_for_shifted_positions_is_refused_in_words() -> None:
    model = tiny("bert", head="lm")
    Prefix(length=20, positions="shifted").apply(model, generator=torch.Generator())
    with pytest.raises(MethodError, match=r"20 positions of a prefix and 110 tokens.*128.*task\.max_length"):
        model(input_ids=tokens(1, 110))


def test_a_saved_configuration_knows_nothing_of_it(tmp_path: Path) -> None:
    model = learnt("bert")
    model.config.save_pretrained(tmp_path)
    assert "luthier" not in (tmp_path / "config.json").read_text()
    assert "prefix" not in json.dumps(model.config.to_dict())


def test_a_copy_of_the_model_has_prefixes_of_its_own() -> None:
    model = learnt("t5", method=Prefix(length=LENGTH, positions="shifted"))
    other, ids = copy.deepcopy(model), tokens()
    before = other(**inputs(other, ids)).logits
    with torch.no_grad():
        for _, part in parts_of(model, Part):
            part.value.zero_()
    assert torch.equal(other(**inputs(other, ids)).logits, before)


@pytest.mark.parametrize("positions", ["own", "shifted"])
def test_examples_that_share_a_row_each_see_the_prefix_and_not_each_other(positions: Any) -> None:
    assert can_pack(learnt("llama", method=Prefix(length=LENGTH, positions=positions)))
