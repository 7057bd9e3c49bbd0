"""The role of every module: written out by hand, and one for every parameter."""

from typing import Any

import pytest
from torch import nn

from luthier.models.anatomy import read
from tests.tiny import FAMILIES, tiny

READABLE = sorted(FAMILIES.keys() - {"xlnet"})
LAST_BLOCK = {
    "bert": {
        "attention.query": ["attention.self.query"],
        "attention.key": ["attention.self.key"],
        "attention.value": ["attention.self.value"],
        "attention.output": ["attention.output.dense"],
        "feed-forward.in": ["intermediate.dense"],
        "feed-forward.out": ["output.dense"],
        "norm": ["attention.output.LayerNorm", "output.LayerNorm"],
    },
    "deberta-v2": {
        "attention.query": ["attention.self.query_proj"],
        "attention.key": ["attention.self.key_proj"],
        "attention.value": ["attention.self.value_proj"],
        "other": ["attention.self.pos_key_proj", "attention.self.pos_query_proj"],
        "attention.output": ["attention.output.dense"],
        "feed-forward.in": ["intermediate.dense"],
        "feed-forward.out": ["output.dense"],
        "norm": ["attention.output.LayerNorm", "output.LayerNorm"],
    },
    "modernbert": {
        "attention.qkv": ["attn.Wqkv"],
        "attention.output": ["attn.Wo"],
        "feed-forward.gate-in": ["mlp.Wi"],
        "feed-forward.out": ["mlp.Wo"],
        "norm": ["attn_norm", "mlp_norm"],
    },
    "gpt2": {
        "attention.qkv": ["attn.c_attn"],
        "attention.output": ["attn.c_proj"],
        "feed-forward.in": ["mlp.c_fc"],
        "feed-forward.out": ["mlp.c_proj"],
        "norm": ["ln_1", "ln_2"],
    },
    "llama": {
        "attention.query": ["self_attn.q_proj"],
        "attention.key": ["self_attn.k_proj"],
        "attention.value": ["self_attn.v_proj"],
        "attention.output": ["self_attn.o_proj"],
        "feed-forward.gate": ["mlp.gate_proj"],
        "feed-forward.in": ["mlp.up_proj"],
        "feed-forward.out": ["mlp.down_proj"],
        "norm": ["input_layernorm", "post_attention_layernorm"],
    },
    "phi3": {
        "attention.qkv": ["self_attn.qkv_proj"],
        "attention.output": ["self_attn.o_proj"],
        "feed-forward.gate-in": ["mlp.gate_up_proj"],
        "feed-forward.out": ["mlp.down_proj"],
        "norm": ["input_layernorm", "post_attention_layernorm"],
    },
    "mixtral": {
        "attention.query": ["self_attn.q_proj"],
        "attention.key": ["self_attn.k_proj"],
        "attention.value": ["self_attn.v_proj"],
        "attention.output": ["self_attn.o_proj"],
        "feed-forward.experts": ["mlp.experts"],
        "other": ["mlp.gate"],
        "norm": ["input_layernorm", "post_attention_layernorm"],
    },
    "t5": {
        "attention.query": ["layer.0.SelfAttention.q"],
        "attention.key": ["layer.0.SelfAttention.k"],
        "attention.value": ["layer.0.SelfAttention.v"],
        "attention.output": ["layer.0.SelfAttention.o"],
        "cross-attention.query": ["layer.1.EncDecAttention.q"],
        "cross-attention.key": ["layer.1.EncDecAttention.k"],
        "cross-attention.value": ["layer.1.EncDecAttention.v"],
        "cross-attention.output": ["layer.1.EncDecAttention.o"],
        "feed-forward.in": ["layer.2.DenseReluDense.wi"],
        "feed-forward.out": ["layer.2.DenseReluDense.wo"],
        "norm": ["layer.0.layer_norm", "layer.1.layer_norm", "layer.2.layer_norm"],
    },
}
HEADS = {
    "bert": ["classifier"],
    "roberta": ["classifier.dense", "classifier.out_proj"],
    "distilbert": ["pre_classifier", "classifier"],
    "deberta-v2": ["pooler.dense", "classifier"],
    "modernbert": ["head.dense", "head.norm", "classifier"],
    "llama": ["score"],
    "t5": ["classification_head.dense", "classification_head.out_proj"],
    "wav2vec2": ["projector", "classifier"],
}
LM_HEADS = {
    "distilbert": ["vocab_transform", "vocab_layer_norm", "vocab_projector"],
    "gpt2": ["lm_head"],
    "t5": ["lm_head"],
    "whisper": ["proj_out"],
}


def own_parameters(model: nn.Module, module: str) -> list[str]:
    own = model.get_submodule(module).named_parameters(recurse=False)
    return [f"{module}.{name}".lstrip(".") for name, _ in own]


@pytest.mark.parametrize("family", READABLE)
@pytest.mark.parametrize("head", ["base", "lm"])
def test_every_parameter_has_exactly_one_role(family: str, head: Any) -> None:
    model = tiny(family, head=head)
    owned = [name for names in read(model).roles.values() for module in names for name in own_parameters(model, module)]
    assert sorted(owned) == sorted(name for name, _ in model.named_parameters(remove_duplicate=False))


@pytest.mark.parametrize("family", LAST_BLOCK)
def test_roles_in_a_block(family: str) -> None:
    block = read(tiny(family)).blocks[-1]
    short = {role: [name.removeprefix(f"{block.name}.") for name in names] for role, names in block.roles.items()}
    assert {role: sorted(names) for role, names in short.items()} == LAST_BLOCK[family]


def test_a_gated_t5_has_gate_and_in() -> None:
    roles = read(tiny("t5", feed_forward_proj="gated-gelu")).blocks[0].roles
    assert roles["feed-forward.gate"] == ("transformer.encoder.block.0.layer.1.DenseReluDense.wi_0",)
    assert roles["feed-forward.in"] == ("transformer.encoder.block.0.layer.1.DenseReluDense.wi_1",)


def test_the_first_block_of_each_t5_stack_owns_the_relative_bias() -> None:
    assert read(tiny("t5", head="base")).roles["attention.relative-bias"] == (
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
        "decoder.block.0.layer.0.SelfAttention.relative_attention_bias",
    )


def test_gpt2_cross_attention_has_its_own_query() -> None:
    roles = read(tiny("gpt2", head="lm", add_cross_attention=True)).blocks[0].roles
    assert roles["cross-attention.query"] == ("transformer.h.0.crossattention.q_attn",)
    assert roles["cross-attention.qkv"] == ("transformer.h.0.crossattention.c_attn",)
    assert roles["cross-attention.output"] == ("transformer.h.0.crossattention.c_proj",)


def test_a_feed_forward_as_wide_as_the_model_is_told_apart() -> None:
    roles = read(tiny("bert", intermediate_size=32)).blocks[0].roles
    assert roles["feed-forward.in"] == ("bert.encoder.layer.0.intermediate.dense",)
    assert roles["feed-forward.out"] == ("bert.encoder.layer.0.output.dense",)


@pytest.mark.parametrize("family", HEADS)
def test_the_head_is_what_stands_outside_the_base(family: str) -> None:
    assert list(read(tiny(family)).outside["head"]) == HEADS[family]


@pytest.mark.parametrize("family", LM_HEADS)
def test_a_language_models_head_is_found(family: str) -> None:
    assert list(read(tiny(family, head="lm")).outside["head"]) == LM_HEADS[family]


def test_berts_pooler_is_no_head() -> None:
    assert read(tiny("bert")).outside["pooler"] == ("bert.pooler.dense",)


def test_a_speech_models_convolutions_are_features() -> None:
    assert read(tiny("whisper", head="base")).outside["features"] == ("encoder.conv1", "encoder.conv2")
    assert read(tiny("wav2vec2", head="base")).outside["features"] == (
        "feature_extractor.conv_layers.0.conv",
        "feature_extractor.conv_layers.0.layer_norm",
        "feature_extractor.conv_layers.1.conv",
        "encoder.pos_conv_embed.conv",
        "encoder.pos_conv_embed.conv.parametrizations.weight",
    )


def test_a_text_models_convolution_is_no_feature() -> None:
    outside = read(tiny("deberta-v2")).outside
    assert "features" not in outside
    assert outside["other"] == ("deberta.encoder.conv.conv",)
