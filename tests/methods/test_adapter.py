"""Adapters: the formula against one written out by hand, in every family, and under whatever a training does."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.errors import MethodError, ModelError
from luthier.methods._bottleneck import Bottleneck, Ear
from luthier.methods._parts import parts_of
from luthier.methods._places import feed_forwards
from luthier.methods.adapter import Adapter
from luthier.models import forward
from luthier.models.anatomy import read
from luthier.models.checkpointing import checkpointed
from luthier.models.dropout import fast_dropout
from luthier.models.flat_trial import lay_flat
from tests.tiny import FAMILIES, batch, classification, rows, tiny

TASK = classification()
PLACEMENTS = ("pfeiffer", "houlsby", "parallel")
LANGUAGE_MODELS = {"bart", "marian", "t5", "whisper", "wav2vec2"}
"""Families that are tried with a language model's head."""
READABLE = sorted(FAMILIES.keys() - {"xlnet"})
DENSE = sorted(set(READABLE) - {"mixtral"})

every_placement = pytest.mark.parametrize("placement", PLACEMENTS)


def made(family: str, method: Adapter, *, shaken: bool = True, **settings: Any) -> PreTrainedModel:
    """A model with adapters, whose weights are as if they had learnt."""
    model = tiny(family, head="lm" if family in LANGUAGE_MODELS else "sequence-classification", **settings)
    method.apply(model, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for _, part in parts_of(model, Bottleneck):
        for parameter in part.parameters() if shaken else ():
            parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def inputs(model: PreTrainedModel) -> dict[str, Tensor]:
    ids, mask = torch.arange(3, 30).reshape(3, 9), torch.ones(3, 9, dtype=torch.long)
    mask[0, 6:] = 0
    words = {"decoder_input_ids": ids[:, :7]} if model.config.is_encoder_decoder else {}
    sound = {"input_features": (3, 8, 32), "input_values": (3, 400)}.get(model.main_input_name)
    if sound is None:
        return {"input_ids": ids, "attention_mask": mask, **words}
    return {model.main_input_name: torch.ones(sound) * torch.arange(sound[-1]), **words}


def answer(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model.eval()(**inputs(model)).logits
    return logits


class Reference(nn.Module):
    """x + s up(relu(down(x))) of torch's own layers, as the adapters library has it."""

    def __init__(self, part: Bottleneck, scale: float) -> None:
        super().__init__()
        num_hidden, width = part.down.shape
        self.down, self.up, self.scale = nn.Linear(width, num_hidden), nn.Linear(num_hidden, width), scale
        weights = {"down.weight": part.down, "down.bias": part.down_bias}
        self.load_state_dict({**weights, "up.weight": part.up, "up.bias": part.up_bias})

    def update(self, x: Tensor) -> Tensor:
        return self.up(nn.ReLU()(self.down(x))) * self.scale  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.update(x)


@pytest.mark.parametrize(("placement", "scale"), [("pfeiffer", 1.0), ("houlsby", 1.0), ("houlsby", 0.5)])
def test_on_a_bert_it_is_the_written_out_formula(placement: Any, scale: float) -> None:
    model = made("bert", Adapter(placement=placement, reduction=4.0, scale=scale))
    plain: Any = tiny("bert")
    ends = ["attention.output", "output"] if placement == "houlsby" else ["output"]
    places = [f"bert.encoder.layer.{number}.{end}" for number in range(4) for end in ends]
    parts = parts_of(model, Bottleneck)
    assert [layer for layer, _ in parts] == [model.get_submodule(f"{place}.dense") for place in places]
    for place, (_, part) in zip(places, parts, strict=True):
        owner: Any = plain.get_submodule(place)
        owner.dense = nn.Sequential(owner.dense, Reference(part, scale))
    torch.testing.assert_close(answer(model), answer(plain), rtol=0, atol=1e-6)
    assert not torch.allclose(answer(model), answer(tiny("bert")), atol=1e-3)


@pytest.mark.parametrize("scale", [4.0, 1.0])
def test_beside_the_feed_forward_of_a_bert_it_is_the_written_out_formula(scale: float) -> None:
    model, plain = made("bert", Adapter(placement="parallel", reduction=4.0, scale=scale)), tiny("bert")
    layers: Any = plain.get_submodule("bert.encoder.layer")

    def feed_forward(layer: Any, beside: Reference) -> Callable[[Tensor], Tensor]:
        def chunk(x: Tensor) -> Tensor:
            inside = layer.output.dense(layer.intermediate(x)) + beside.update(x)
            return layer.output.LayerNorm(inside + x)  # type: ignore[no-any-return]

        return chunk

    for layer, (_, part) in zip(layers, parts_of(model, Bottleneck), strict=True):
        layer.feed_forward_chunk = feed_forward(layer, Reference(part, scale))
    torch.testing.assert_close(answer(model), answer(plain), rtol=0, atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
def test_a_bottleneck_by_hand(activation: Any) -> None:
    model = made("bert", Adapter(reduction=8.0, activation=activation, norm=True, scale=2.0))
    layer, part = parts_of(model, Bottleneck)[0]
    x = torch.randn(5, 64)
    functions: dict[str, nn.Module] = {"relu": nn.ReLU(), "gelu": nn.GELU(), "silu": nn.SiLU(), "tanh": nn.Tanh()}
    h = x @ layer.weight.T + layer.bias
    normal = (h - h.mean(-1, keepdim=True)) / (h.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    narrow = functions[activation]((normal * part.norm_weight + part.norm_bias) @ part.down.T + part.down_bias)
    torch.testing.assert_close(layer(x), h + 2 * (narrow @ part.up.T + part.up_bias))


@every_placement
@pytest.mark.parametrize("family", READABLE)
def test_every_family_starts_as_the_base_and_all_of_it_learns(family: str, placement: Any) -> None:
    method = Adapter(placement=placement)
    fresh = made(family, method, shaken=False)
    base = tiny(family, head="lm" if family in LANGUAGE_MODELS else "sequence-classification")
    assert torch.equal(answer(fresh), answer(base))
    model = made(family, method)
    assert not torch.equal(answer(model), answer(base))
    model(**inputs(model)).logits.square().sum().backward()
    parts = parts_of(model, Bottleneck)
    anatomy = read(base)
    num_attentions = len([*anatomy.roles["attention.output"], *anatomy.roles.get("cross-attention.output", ())])
    assert len(parts) == len(anatomy.blocks) + (num_attentions if placement == "houlsby" else 0)
    assert all(part.up_bias.grad is not None for _, part in parts)
    assert all(ear.heard is None for _, ear in parts_of(model, Ear))


def test_experts_are_served_as_a_whole() -> None:
    model = made("mixtral", Adapter(placement="parallel", reduction=4.0))
    layer, part = parts_of(model, Bottleneck)[0]
    assert layer is model.get_submodule("model.layers.0.mlp")
    x = torch.randn(2, 3, 32)
    plain = tiny("mixtral").get_submodule("model.layers.0.mlp")
    torch.testing.assert_close(layer(x), plain(x) + Reference(part, 4.0).update(x))


def test_experts_that_no_one_module_answers_for_are_refused() -> None:
    model = tiny("mixtral")
    block = read(model).blocks[0]
    beside = replace(block, roles={**block.roles, "feed-forward.out": (f"{block.name}.dense.down_proj",)})
    with pytest.raises(MethodError, match=r"model.layers.0 has experts and no one module .*dense.down_proj.*method="):
        list(feed_forwards(model, beside))


def test_a_block_without_a_feed_forward_is_refused_by_name() -> None:
    block = read(tiny("bert")).blocks[2]
    bare = replace(block, roles={"attention.query": (), "norm": ()})
    with pytest.raises(
        MethodError, match=r"layer.2 has no feed-forward.in and feed-forward.out; it has attention.query"
    ):
        list(feed_forwards(tiny("bert"), bare))


def test_a_model_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ModelError, match=r"method.blocks: all has no meaning here; XLNet"):
        Adapter().apply(tiny("xlnet"), generator=torch.Generator())


def test_only_chosen_blocks_get_one() -> None:
    model = made("bert", Adapter(blocks=("last-1", "blocks.1")))
    assert [number for number in range(4) if hasattr(model.bert.encoder.layer[number].output.dense, "adapter")] == [
        1,
        3,
    ]
    both = made("t5", Adapter(blocks=("encoder",)))
    assert len(parts_of(both, Bottleneck)) == 4


@pytest.mark.parametrize("family", ["bert", "llama", "opt", "t5"])
@pytest.mark.parametrize("what", ["blocks", "attention", "selective"])
@pytest.mark.parametrize("placement", ["houlsby", "parallel"])
def test_activations_that_are_computed_again_give_the_same_gradients(family: str, what: Any, placement: Any) -> None:
    model = made(family, Adapter(placement=placement, reduction=4.0, dropout=0.2)).double().train()

    def gradients(again: Any) -> list[Tensor]:
        model.zero_grad()
        torch.manual_seed(0)
        with checkpointed(model, again), fast_dropout("cpu"):
            forward.hidden(model, inputs(model))["last_hidden_state"].square().sum().backward()
        assert all(ear.heard is None for _, ear in parts_of(model, Ear))
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    kept, again = gradients(None), gradients(what)
    assert len(kept) >= 4 * 4
    assert all(torch.allclose(one, other, rtol=1e-10, atol=1e-12) for one, other in zip(kept, again, strict=True))


@every_placement
@pytest.mark.parametrize("family", ["bert", "llama", "mixtral"])
def test_rows_that_lie_flat_get_the_answers_of_padded_ones(family: str, placement: Any) -> None:
    model = made(family, Adapter(placement=placement, reduction=4.0))
    given = batch(TASK, rows(6)).inputs
    mask = given["attention_mask"].bool()
    with torch.no_grad():
        padded = forward.hidden(model, given)["last_hidden_state"][mask]
        assert lay_flat(model)
        flat = forward.hidden(model, given)["last_hidden_state"][mask]
    torch.testing.assert_close(flat, padded, rtol=0, atol=1e-5)


@every_placement
def test_a_base_in_bf16_has_adapters_in_fp32(placement: Any) -> None:
    model = tiny("llama").to(torch.bfloat16)
    base = answer(model)
    method = Adapter(placement=placement, reduction=4.0, norm=True)
    method.apply(model, generator=torch.Generator().manual_seed(0))
    assert {p.dtype for _, part in parts_of(model, Bottleneck) for p in part.parameters()} == {torch.float32}
    model.score.to(torch.bfloat16)
    assert torch.equal(answer(model), base)
    parts_of(model, Bottleneck)[0][1].up_bias.data += 1
    assert answer(model).dtype == torch.bfloat16
    assert not torch.equal(answer(model), base)


def test_what_is_written_token_by_token_is_what_the_whole_text_says() -> None:
    model = tiny("llama", head="lm", use_cache=True)
    Adapter(placement="parallel", reduction=4.0).apply(model, generator=torch.Generator().manual_seed(0))
    for _, part in parts_of(model, Bottleneck):
        part.up.data.normal_(generator=torch.Generator().manual_seed(1))
    ids, how = torch.arange(3, 9)[None], {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    told = model.generate(ids, **how, use_cache=True)
    assert torch.equal(told, model.generate(ids, **how, use_cache=False))


def test_dropout_is_only_for_training() -> None:
    model = made("bert", Adapter(reduction=4.0, dropout=0.5))
    assert torch.equal(answer(model), answer(made("bert", Adapter(reduction=4.0))))
    layer, _ = parts_of(model.train(), Bottleneck)[0]
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    assert not torch.equal(layer(x), layer(x))


def test_the_scale_is_the_papers_unless_it_is_said() -> None:
    found = {place: Adapter(placement=place).resolve(Facts()).scale for place in PLACEMENTS}  # type: ignore[arg-type]
    assert found == {"pfeiffer": 1.0, "houlsby": 1.0, "parallel": 4.0}
    assert Adapter(placement="parallel", scale=2.0).resolve(Facts()).scale == 2.0
    model = tiny("bert")
    Adapter(placement="parallel").apply(model, generator=torch.Generator())
    assert parts_of(model, Bottleneck)[0][1].form.scale == 4.0


def test_a_bottleneck_of_no_width_is_refused() -> None:
    with pytest.raises(MethodError, match=r"method.reduction: 64 leaves nothing of this model's width of 32"):
        Adapter(reduction=64.0).apply(tiny("bert"), generator=torch.Generator())


def test_it_cannot_be_folded_and_says_what_can() -> None:
    with pytest.raises(MethodError, match=r"method: an adapter has a function \(relu\) inside.*method=lora"):
        Adapter().fold(tiny("bert"))
