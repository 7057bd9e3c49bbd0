"""Examples that share a row get what they get alone, or the model is refused."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from luthier.errors import ModelError
from luthier.models.packed import packed_inputs, require_packing
from tests.tiny import tiny

Example = Int[ndarray, " tokens"]
Attention = Literal["eager", "sdpa"]

SEPARATE = ("gpt2", "gpt_neox", "llama", "mistral", "qwen2", "gemma3_text", "phi3", "mixtral")
"""Decoders whose examples can be kept apart."""
EXAMPLES = tuple(np.split(np.random.default_rng(3).integers(1, 64, size=33), np.cumsum((11, 1, 6, 1))))
"""Some of one token; the longest is longer than the sliding window below."""
both_attentions = pytest.mark.parametrize("attention", ["eager", "sdpa"])


def decoder(family: str, attention: Attention = "sdpa") -> PreTrainedModel:
    settings: dict[str, Any] = {}
    if family in ("mistral", "gemma3_text", "mixtral"):
        settings = {"sliding_window": 5}
    if family == "mixtral":
        settings |= {"experts_implementation": "eager"}  # the faster ones do not compute in float64
    model = tiny(family, head="lm", attn_implementation=attention, **settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in model.parameters():  # what a tiny model has drawn, attention hardly looks at
            parameter.data.normal_(std=0.3)
    return model


def logits(model: PreTrainedModel, examples: Sequence[Example]) -> Tensor:
    inputs = {name: torch.from_numpy(ids)[None] for name, ids in packed_inputs(examples).items()}
    return model(**inputs, use_cache=False).logits[0]


def gradients(model: PreTrainedModel, rows: Sequence[Sequence[Example]]) -> list[Tensor]:
    """Of the summed loss of each example's next tokens."""
    loss = torch.zeros((), dtype=torch.float64)
    for examples in rows:
        told = logits(model, examples).split([len(example) for example in examples])
        for each, example in zip(told, examples, strict=True):
            loss = loss + nn.functional.cross_entropy(each[:-1], torch.from_numpy(example[1:]), reduction="sum")
    return list(torch.autograd.grad(loss, list(model.parameters())))


def require_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Equal to rounding, in units of the largest number where that is above 1."""
    with torch.no_grad():
        assert (found - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1)


@both_attentions
@pytest.mark.parametrize("family", SEPARATE)
def test_packed_examples_get_the_logits_and_the_gradient_of_each_alone(family: str, attention: Attention) -> None:
    # Eager attention takes its softmax in float32 whatever it is given, Gemma the weights of its norms.
    tolerance = 1e-6 if attention == "eager" or family == "gemma3_text" else 1e-10
    model = decoder(family, attention).double()
    alone = torch.cat([logits(model, [example]) for example in EXAMPLES])
    require_close(logits(model, EXAMPLES), alone, tolerance)
    packed = gradients(model, [EXAMPLES])
    for found, expected in zip(packed, gradients(model, [[example] for example in EXAMPLES]), strict=True):
        require_close(found, expected, tolerance)
    require_packing(model)


def test_positions_begin_again_with_each_example() -> None:
    row = packed_inputs([[7, 8, 9], [5], [4, 4]])
    assert row["input_ids"].tolist() == [7, 8, 9, 5, 4, 4]
    assert row["position_ids"].tolist() == [0, 1, 2, 0, 0, 1]


@both_attentions
def test_padding_at_position_0_changes_nothing(attention: Attention) -> None:
    model, rows = decoder("llama", attention), (EXAMPLES, EXAMPLES[2:3])
    packed = [packed_inputs(examples) for examples in rows]
    batch = {
        name: nn.utils.rnn.pad_sequence([torch.from_numpy(row[name]) for row in packed], batch_first=True)
        for name in ("input_ids", "position_ids")
    }
    together = model(**batch, use_cache=False).logits
    for found, examples in zip(together, rows, strict=True):
        expected = logits(model, examples)
        require_close(found[: len(expected)], expected, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["opt", "bloom", "bert", "modernbert", "xlnet"])
def test_a_model_whose_examples_see_each_other_is_refused(family: str, dtype: torch.dtype) -> None:
    with pytest.raises(ModelError, match=rf"task\.packing: {family} with .* say task\.packing=false"):
        require_packing(tiny(family, head="lm").to(dtype))  # as drawn: they see very little of each other


@pytest.mark.parametrize("family", ["mpt", "mamba", "gpt_oss"])
def test_a_decoder_of_another_make_is_refused(family: str) -> None:
    sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "n_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}
    own = {"mpt": {"d_model": 32, "n_heads": 4}, "gpt_oss": {"num_local_experts": 4, "head_dim": 8}}
    config = AutoConfig.for_model(family, **sizes, **heads, **own.get(family, {}))
    with pytest.raises(ModelError, match="see each other"):
        require_packing(AutoModelForCausalLM.from_config(config))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", SEPARATE)
def test_a_model_whose_examples_are_apart_is_let_through_in_each_precision(family: str, dtype: torch.dtype) -> None:
    require_packing(decoder(family).to(dtype))


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_a_model_is_left_as_it_was_found(family: str) -> None:
    model = tiny(family, head="lm").train()
    model.get_decoder().eval()
    modes = [module.training for module in model.modules()]
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    config, state = model.config.to_json_string(), torch.get_rng_state()
    if family == "opt":
        with pytest.raises(ModelError):
            require_packing(model)
    else:
        require_packing(model)
    assert [module.training for module in model.modules()] == modes
    assert model.config.to_json_string() == config
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_frozen_weights_are_tried_all_the_same() -> None:
    require_packing(tiny("llama", head="lm").requires_grad_(False))
    with pytest.raises(ModelError):
        require_packing(tiny("opt", head="lm").requires_grad_(False))


def test_a_cache_that_the_configuration_asks_for_contaminates_and_the_call_forbids_it() -> None:
    """The trap that the module's docstring tells of."""
    model = decoder("llama")
    inputs = {name: torch.from_numpy(ids)[None] for name, ids in packed_inputs(EXAMPLES).items()}
    assert model.config.use_cache
    assert not torch.allclose(model(**inputs).logits, model(**inputs, use_cache=False).logits, atol=1e-2)
