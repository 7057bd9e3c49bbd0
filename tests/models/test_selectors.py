"""The selector language, with the parameters that each form means written out by hand."""

import pytest
import torch
from torch import nn

from luthier.errors import MethodError, ModelError
from luthier.models.anatomy import is_linear
from luthier.models.selectors import select, select_blocks, select_linears
from tests.tiny import tiny

BERT_LAYERS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
BERT_LINEARS = [f"bert.encoder.layer.{index}.{layer}" for index in range(4) for layer in BERT_LAYERS]


def chosen(family: str, *selectors: str, head: str = "sequence-classification") -> list[str]:
    return list(select(tiny(family, head=head), selectors, where="method.parts"))


def blocks_of(names: list[str]) -> set[str]:
    """The block of each name, up to its number."""
    return {name[: next(at for at, mark in enumerate(name) if mark.isdigit()) + 1] for name in names}


def refusal(family: str, selector: str) -> str:
    with pytest.raises(MethodError) as caught:
        select(tiny(family), [selector], where="method.targets")
    return str(caught.value)


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5", "xlnet"])
def test_all_is_every_parameter_in_the_models_order(family: str) -> None:
    assert chosen(family, "all") == [name for name, _ in tiny(family).named_parameters()]


def test_all_linear_is_the_linears_of_the_blocks_with_their_biases() -> None:
    expected = {f"{linear}.{part}" for linear in BERT_LINEARS for part in ("weight", "bias")}
    assert set(chosen("bert", "all-linear")) == expected


def test_a_role_is_its_modules_parameters() -> None:
    names = [f"bert.encoder.layer.{index}.attention.self.query" for index in range(4)]
    assert chosen("bert", "attention.query") == [f"{name}.{part}" for name in names for part in ("weight", "bias")]


def test_the_first_word_of_a_role_is_all_its_roles_and_no_longer_word() -> None:
    layers = ("SelfAttention.k", "SelfAttention.o", "SelfAttention.q", "SelfAttention.v")
    names = chosen("t5", "attention", head="base")
    assert {name.split(".", 5)[5] for name in names} == {
        f"{layer}.weight" for layer in (*layers, "SelfAttention.relative_attention_bias")
    }
    assert all("EncDecAttention" in name for name in chosen("t5", "cross-attention"))
    assert len(chosen("t5", "cross-attention")) == 4 * 4


def test_bias_is_every_parameter_called_bias() -> None:
    assert chosen("bert", "bias") == [n for n, _ in tiny("bert").named_parameters() if n.endswith(".bias")]


def test_norm_reaches_all_norms_of_the_base() -> None:
    names = chosen("llama", "norm")
    assert names[-1] == "model.norm.weight"
    assert len(names) == 4 * 2 + 1


@pytest.mark.parametrize(
    ("family", "modules"),
    [
        ("bert", ["classifier"]),
        ("roberta", ["classifier.dense", "classifier.out_proj"]),
        ("distilbert", ["pre_classifier", "classifier"]),
    ],
)
def test_head_is_all_that_stands_on_the_base(family: str, modules: list[str]) -> None:
    assert chosen(family, "head") == [f"{module}.{part}" for module in modules for part in ("weight", "bias")]


def test_a_tied_head_has_the_name_of_the_first_of_its_tensors() -> None:
    for selector in ("head", "lm_head", "re:^lm_head"):
        assert chosen("gpt2", selector, head="lm") == ["transformer.wte.weight"]


def test_embedding_is_the_tables_and_not_their_norm() -> None:
    tables = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    assert chosen("bert", "embedding") == [f"bert.embeddings.{table}.weight" for table in tables]


def test_a_stack_is_its_blocks() -> None:
    names = [name for name, _ in tiny("t5", head="base").named_parameters()]
    assert chosen("t5", "encoder", head="base") == [n for n in names if n.startswith("encoder.block.")]
    assert chosen("t5", "decoder", head="base") == [n for n in names if n.startswith("decoder.block.")]


@pytest.mark.parametrize(
    ("family", "selector", "stack", "numbers"),
    [
        ("bert", "last-2", "encoder.layer", [2, 3]),
        ("bert", "first-3", "encoder.layer", [0, 1, 2]),
        ("bert", "first-4", "encoder.layer", [0, 1, 2, 3]),
        ("gpt2", "blocks.1-2", "h", [1, 2]),
        ("gpt2", "blocks.3", "h", [3]),
        ("t5", "last-2", "decoder.block", [2, 3]),
        ("t5", "encoder.last-2", "encoder.block", [2, 3]),
        ("t5", "decoder.blocks.0-1", "decoder.block", [0, 1]),
        ("wav2vec2", "last-1", "encoder.layers", [3]),
    ],
)
def test_blocks_are_counted_in_the_decoder_or_else_the_encoder(
    family: str, selector: str, stack: str, numbers: list[int]
) -> None:
    names = chosen(family, selector, head="base")
    assert blocks_of(names) == {f"{stack}.{number}" for number in numbers}
    every = [name for name, _ in tiny(family, head="base").named_parameters()]
    assert names == [name for name in every if name.startswith(tuple(f"{stack}.{number}." for number in numbers))]


def test_a_word_is_the_end_of_a_name_at_a_dot() -> None:
    assert chosen("bert", "self.query") == chosen("bert", "attention.query")
    assert chosen("bert", "query.weight") == [name for name in chosen("bert", "self.query") if "weight" in name]
    assert chosen("bert", "pooler.dense") == ["bert.pooler.dense.weight", "bert.pooler.dense.bias"]
    assert "no layer is called uery" in refusal("bert", "uery")


def test_a_word_that_is_no_role_of_this_model_may_be_a_name() -> None:
    assert chosen("deberta-v2", "pooler") == ["pooler.dense.weight", "pooler.dense.bias"]


@pytest.mark.parametrize(
    ("family", "glob", "same"),
    [
        ("bert", "layer.*.attention", r"re:layer\.\d+\.attention\."),
        ("bert", "layer.1*", r"re:layer\.1\."),
        ("bert", "self.*y", r"re:self\.(query|key)"),
        ("llama", "*_proj", r"re:_proj"),
        ("gpt2", "c_*.bias", r"re:\.c_\w+\.bias$"),
    ],
)
def test_a_star_stands_for_any_letters_between_two_dots(family: str, glob: str, same: str) -> None:
    assert chosen(family, glob) == chosen(family, same)


def test_a_star_reaches_over_no_dot() -> None:
    assert "no parameter's name matches layer*query" in refusal("bert", "layer*query")


@pytest.mark.parametrize(
    ("family", "selectors", "names"),
    [
        ("bert", ["last-1", "blocks.0"], ["bert.encoder.layer.0", "bert.encoder.layer.3"]),
        ("t5", ["first-1"], ["transformer.decoder.block.0"]),
        ("t5", ["encoder"], [f"transformer.encoder.block.{number}" for number in range(4)]),
        ("albert", ["all"], ["albert.encoder.albert_layer_groups.0"]),
    ],
)
def test_whole_blocks_are_selected_in_the_models_order(family: str, selectors: list[str], names: list[str]) -> None:
    assert [block.name for block in select_blocks(tiny(family), selectors, where="")] == names


def test_what_is_no_whole_block_is_refused() -> None:
    with pytest.raises(MethodError, match=r"^method.blocks: attention means no whole blocks; say all, encoder"):
        select_blocks(tiny("bert"), ["last-1", "attention"], where="method.blocks")


def test_a_regular_expression_is_searched_in_full_names() -> None:
    assert chosen("bert", r"re:layer\.[02]\.attention.*query\.w") == [
        "bert.encoder.layer.0.attention.self.query.weight",
        "bert.encoder.layer.2.attention.self.query.weight",
    ]


def test_selectors_add_up_in_the_models_order() -> None:
    both = chosen("bert", "head", "norm", "last-1", "last-1")
    parts = {*chosen("bert", "head"), *chosen("bert", "norm"), *chosen("bert", "last-1")}
    assert both == [name for name in chosen("bert", "all") if name in parts]


@pytest.mark.parametrize(
    ("family", "selector", "message"),
    [
        (
            "gpt2",
            "q_proj",
            "no layer is called q_proj; this model has c_attn, c_proj, c_fc (or say all-linear)",
        ),
        (
            "gpt2",
            "feed_forward",
            "no layer is called feed_forward; this model has c_attn, c_proj, c_fc (or say all-linear); "
            "did you mean feed-forward?",
        ),
        (
            "gpt2",
            "scor",
            "no layer is called scor; this model has c_attn, c_proj, c_fc (or say all-linear); did you mean score?",
        ),
        (
            "gpt2",
            "attention.query",
            "no layer has the role attention.query; this model has attention.qkv, attention.output, "
            "feed-forward.in, feed-forward.out, norm, embedding, head",
        ),
        ("gpt2", "encoder", "encoder selects no blocks; this model has no encoder, only the decoder"),
        (
            "gpt2",
            "encoder.last-2",
            "encoder.last-2 selects no blocks; this model has no encoder, only the decoder",
        ),
        ("bert", "last-9", "last-9 selects no blocks; this model's encoder has 4 blocks, blocks.0-3"),
        ("bert", "last-0", "last-0 selects no blocks; this model's encoder has 4 blocks, blocks.0-3"),
        ("t5", "blocks.2-4", "blocks.2-4 selects no blocks; this model's decoder has 4 blocks, blocks.0-3"),
        ("t5", "blocks.3-2", "blocks.3-2 selects no blocks; this model's decoder has 4 blocks, blocks.0-3"),
        (
            "albert",
            "last-2",
            "last-2 selects no blocks; the 4 layers of this model's encoder share the weights of 1 (say encoder)",
        ),
        (
            "gpt2",
            "re:q_proj",
            "no parameter's name matches re:q_proj; this model has c_attn, c_proj, c_fc (or say all-linear)",
        ),
        (
            "gpt2",
            "re:(",
            "re:( is not a regular expression: missing ), unterminated subpattern at position 0",
        ),
        (
            "xlnet",
            "q_proj",
            "no layer is called q_proj; this model has layer_1, layer_2, summary, logits_proj (or say all)",
        ),
    ],
)
def test_a_selector_that_matches_nothing_says_what_there_is(family: str, selector: str, message: str) -> None:
    assert refusal(family, selector) == f"method.targets: {message}"


def test_an_unreadable_model_takes_names_and_expressions() -> None:
    layers = [f"transformer.layer.{index}.ff.layer_1" for index in range(4)]
    expected = [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    assert chosen("xlnet", "ff.layer_1") == chosen("xlnet", r"re:ff\.layer_1") == expected
    assert list(select_linears(tiny("xlnet"), ["layer_1"], where="method.targets")) == layers
    assert chosen("xlnet", "bias") == [n for n, _ in tiny("xlnet").named_parameters() if n.endswith(".bias")]


@pytest.mark.parametrize("selector", ["all-linear", "attention", "head", "encoder", "last-2"])
def test_an_unreadable_model_refuses_what_needs_its_anatomy(selector: str) -> None:
    with pytest.raises(ModelError, match=rf"method.parts: {selector} has no meaning here; XLNet.*could not be read"):
        chosen("xlnet", selector)


def test_what_was_learnt_below_a_layer_is_not_selected_by_role() -> None:
    model = tiny("bert")
    before = [select(model, [selector], where="") for selector in ("all-linear", "attention", "embedding")]
    for module in list(model.modules()):
        if is_linear(module) or isinstance(module, nn.Embedding):
            module.lora = nn.ParameterDict({"A": torch.zeros(4, 32), "weight": torch.zeros(32, 4)})
    assert [select(model, [selector], where="") for selector in ("all-linear", "attention", "embedding")] == before


@pytest.mark.parametrize("selector", ["all-linear", "encoder", "first-4"])
def test_linears_are_chosen_by_their_weight(selector: str) -> None:
    assert list(select_linears(tiny("bert"), [selector], where="method.targets")) == BERT_LINEARS


def test_conv1d_counts_as_linear() -> None:
    names = select_linears(tiny("gpt2"), ["feed-forward", "attention.qkv"], where="method.targets")
    layers = ("attn.c_attn", "mlp.c_fc", "mlp.c_proj")
    assert list(names) == [f"transformer.h.{index}.{layer}" for index in range(4) for layer in layers]


def test_a_tied_head_is_a_linear_of_its_own() -> None:
    model = tiny("gpt2", head="lm")
    assert select_linears(model, ["head"], where="method.targets") == ("lm_head",)
    assert "lm_head" not in select_linears(model, ["all-linear"], where="method.targets")


@pytest.mark.parametrize("selector", ["norm", "embedding", "bias"])
def test_a_target_without_a_linear_is_refused(selector: str) -> None:
    with pytest.raises(
        MethodError, match=f"^method.targets: {selector} selects no linear layer; this model has c_attn"
    ):
        select_linears(tiny("gpt2", head="lm"), ["all-linear", selector], where="method.targets")
