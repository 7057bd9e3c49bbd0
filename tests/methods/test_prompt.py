"""What a prompt is: learnt embeddings among a row's own, of which nobody else hears."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.errors import MethodError
from luthier.methods._parts import parts_of
from luthier.methods._prompt import Prompt as Part
from luthier.methods.prompt import Prompt
from luthier.models import flat_trial, forward
from luthier.models.arithmetic import computing
from luthier.models.checkpointing import checkpointed
from luthier.models.packed import can_pack
from tests.methods import before_rows
from tests.methods.before_rows import BOTH, DECODERS, GEMMA2, inputs, tokens
from tests.methods.test_prefix import generated
from tests.tiny import FAMILIES, tiny, tokenizer

ENCODERS = ("bert", "roberta", "distilbert", "albert", "electra", "deberta-v2", "modernbert")
WRITES = (*DECODERS, "bloom")
LENGTH = 3


@pytest.fixture(autouse=True)
def gemma2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "gemma2", GEMMA2)


def learnt(family: str, *, head: str = "lm", method: Prompt | None = None, **settings: Any) -> PreTrainedModel:
    """A model whose prompt is far from its start."""
    return before_rows.learnt(family, head, method or Prompt(length=LENGTH), **settings)


@pytest.mark.parametrize("family", [*ENCODERS, *WRITES, *BOTH])
def test_a_padded_row_is_answered_as_alone_and_the_prompt_learns(family: str) -> None:
    model = learnt(family)
    ids, mask = tokens(), torch.ones(2, 7, dtype=torch.long)
    mask[1, 4:] = 0
    ids = ids.masked_fill(mask == 0, model.config.pad_token_id)
    padded = model(**inputs(model, ids, mask)).logits
    assert padded.shape[:2] == (2, 5 if family in BOTH else 7)
    decoder = {"decoder_input_ids": ids[1:, :5]} if family in BOTH else {}
    alone = model(**{**inputs(model, ids[1:, :4], mask[1:, :4]), **decoder}).logits[0]
    torch.testing.assert_close(padded[1, : len(alone)], alone, rtol=0, atol=1e-5)
    padded.square().sum().backward()
    ((_, part),) = parts_of(model, Part)
    assert part.vectors.grad is not None
    assert (part.vectors.grad != 0).any(1).all()


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "bloom"])
def test_a_prompt_of_words_is_these_words_before_the_row(family: str) -> None:
    words, ids = torch.tensor([[7, 30, 12]]), tokens()
    model, base = tiny(family, head="lm"), tiny(family, head="lm")
    method = Prompt(length=3, start="text", tokens=tuple(words[0].tolist()), place="before")
    method.apply(model, generator=torch.Generator())
    expected = base(input_ids=torch.cat([words.expand(2, -1), ids], 1)).logits[:, 3:]
    torch.testing.assert_close(model(input_ids=ids).logits, expected, rtol=0, atol=1e-5)


def test_behind_the_first_token_the_pooler_reads_it() -> None:
    words, ids = torch.tensor([[7, 30, 12]]).expand(2, -1), tokens()
    model, base = tiny("bert"), tiny("bert")
    method = Prompt(length=3, start="text", tokens=(7, 30, 12)).resolve(Facts(model=base))
    assert method.place == "after-first"
    method.apply(model, generator=torch.Generator())
    expected = base(input_ids=torch.cat([ids[:, :1], words, ids[:, 1:]], 1)).logits
    torch.testing.assert_close(model(input_ids=ids).logits, expected, rtol=0, atol=1e-5)


def test_an_encoders_prompt_is_seen_by_its_decoder() -> None:
    words, ids = torch.tensor([[7, 30, 12]]), tokens()
    for family in ("t5", "bart"):
        model, base = tiny(family, head="lm"), tiny(family, head="lm")
        method = Prompt(length=3, start="text", tokens=tuple(words[0].tolist()))
        method.apply(model, generator=torch.Generator())
        mask = torch.ones_like(ids)
        mask[1, 5:] = 0
        longer = torch.cat([words.expand(2, -1), ids], 1), torch.nn.functional.pad(mask, (3, 0), value=1)
        expected = base(input_ids=longer[0], attention_mask=longer[1], decoder_input_ids=ids).logits
        found = model(input_ids=ids, attention_mask=mask, decoder_input_ids=ids).logits
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", [*WRITES, *BOTH])
def test_generation_is_the_same_with_any_cache_and_padded_on_the_left(family: str) -> None:
    model = learnt(family, **({} if family == "t5" else {"initializer_range": 0.4}))
    ids, mask = tokens(), torch.ones(2, 7, dtype=torch.long)
    mask[1, slice(4, 7) if family in BOTH else slice(0, 3)] = 0
    ids = ids.masked_fill(mask == 0, 0)
    without = generated(model, ids, mask, use_cache=False)
    assert torch.equal(generated(model, ids, mask), without)
    if family != "bloom":  # it has no static cache
        assert torch.equal(generated(model, ids, mask, cache_implementation="static"), without)
    assert torch.equal(
        generated(model, ids, mask, num_beams=2), generated(model, ids, mask, num_beams=2, use_cache=False)
    )
    if family not in BOTH:
        assert torch.equal(generated(model, ids[1:, 3:], mask[1:, 3:])[0, 4:], without[1, 7:])


@pytest.mark.parametrize("output", ["hidden_states", "attentions"])
def test_what_is_asked_for_beside_has_the_rows_shape(output: str) -> None:
    for family, place in (("bert", "after-first"), ("bert", "before"), ("llama", "before")):
        settings: dict[str, Any] = {"attn_implementation": "eager"}
        model = learnt(family, method=Prompt(length=LENGTH, place=place), **settings)  # type: ignore[arg-type]
        base = tiny(family, head="lm", **settings)
        given = {"input_ids": tokens(), f"output_{output}": True}
        found, expected = model(**given)[output], base(**given)[output]
        assert [each.shape for each in found] == [each.shape for each in expected]


def test_a_sentence_is_classified_by_its_last_token_in_a_decoder() -> None:
    model = learnt("gpt2", head="sequence-classification")
    ids, mask = tokens(), torch.ones(2, 7, dtype=torch.long)
    mask[1, 4:] = 0
    ids = ids.masked_fill(mask == 0, 0)
    padded = model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(padded[1:], model(input_ids=ids[1:, :4]).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5"])
def test_hidden_states_and_head_may_be_separate_calls(family: str) -> None:
    model = learnt(family)
    given = inputs(model, tokens())
    answer = forward.hidden(model, given)
    expected = model(**given).logits
    torch.testing.assert_close(forward.head(model, answer, given), expected)
    picked = torch.zeros(expected.shape[:2], dtype=torch.bool)
    picked[:, 1] = True
    torch.testing.assert_close(forward.logits_at(model, answer, picked), expected[picked])


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_rows_are_not_laid_flat(family: str) -> None:
    assert not flat_trial.lay_flat(learnt(family))


def test_packed_rows_are_refused_in_words() -> None:
    with pytest.raises(MethodError, match=r"task\.packing=false"):
        can_pack(learnt("llama"))


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_checkpointing_leaves_gradients_as_they_are(family: str) -> None:
    found = []
    for what in (None, "blocks"):
        model = learnt(family)
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
        ((_, part),) = parts_of(model, Part)
        gradients.append(part.vectors.grad.flatten())
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.98


@pytest.mark.parametrize(("family", "named"), [("whisper", "hears sound; say prefix"), ("wav2vec2", "hears sound")])
def test_a_model_that_hears_is_refused(family: str, named: str) -> None:
    with pytest.raises(MethodError, match=named):
        Prompt().apply(tiny(family, head="lm"), generator=torch.Generator())


def test_a_row_that_leaves_no_room_is_refused_in_words() -> None:
    model = learnt("bert", method=Prompt(length=20))
    assert model(input_ids=tokens(1, 108)).logits.shape[1] == 108
    with pytest.raises(MethodError, match=r"a prompt of 20 and a row of 109 tokens are more than this model's 128"):
        model(input_ids=tokens(1, 109))


@pytest.mark.parametrize("start", ["random", "vocabulary"])
def test_it_starts_as_wide_as_words(start: Any) -> None:
    model = tiny("bert", head="lm")
    Prompt(length=64, start=start).apply(model, generator=torch.Generator().manual_seed(0))
    ((words, part),) = parts_of(model, Part)
    assert part.vectors.std().item() == pytest.approx(words.weight.std().item(), rel=0.1)
    is_word = (part.vectors[:, None] == words.weight).all(-1).any(1)
    assert is_word.all() == (start == "vocabulary")


def test_a_text_is_tokenised_once() -> None:
    method = Prompt(length=3, start="text", text="w3 w9").resolve(Facts(processor=tokenizer()))
    assert method.tokens == (7, 13, 7)
    with pytest.raises(MethodError, match=r"method\.tokens: .*resolve the recipe first"):
        Prompt(start="text", text="w3").apply(tiny("bert"), generator=torch.Generator())


def test_a_copy_of_the_model_has_a_prompt_of_its_own() -> None:
    model = learnt("llama")
    other, ids = copy.deepcopy(model), tokens()
    before: Tensor = other(input_ids=ids).logits
    with torch.no_grad():
        parts_of(model, Part)[0][1].vectors.zero_()
    assert torch.equal(other(input_ids=ids).logits, before)
    assert not torch.equal(model(input_ids=ids).logits, before)
