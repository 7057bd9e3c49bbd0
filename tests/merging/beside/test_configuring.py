"""The configuration of a merged model."""

from typing import Any

import pytest
from transformers import AutoConfig, BartConfig, GPTNeoConfig, Qwen2Config, T5Config

from luthier.errors import MergeError
from luthier.merging.beside.configuring import merged_config

LLAMA = {"model_type": "llama", "vocab_size": 64, "num_hidden_layers": 4, "torch_dtype": "bfloat16"}


def config_of(reference: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return merged_config(reference, **changes)[0]


def test_nothing_asked_for_changes_nothing_but_what_is_private() -> None:
    private = {"_name_or_path": "/home/someone", "auto_map": {"AutoModel": "own.Model"}}
    inner = {"text_config": {"vocab_size": 5, "_name_or_path": "/home/someone"}}
    assert config_of({**LLAMA, **private, **inner}) == {**LLAMA, "text_config": {"vocab_size": 5}}


def test_the_reference_stays_as_it_is() -> None:
    reference = {**LLAMA, "text_config": {"vocab_size": 64}}
    config_of(reference, num_rows=70, dtype="float32", tied=True)
    assert reference == {**LLAMA, "text_config": {"vocab_size": 64}}


def test_type_size_and_tie_are_written_where_they_stand() -> None:
    made = config_of(LLAMA, num_rows=70, dtype="float32", tied=False)
    assert made == {**LLAMA, "vocab_size": 70, "torch_dtype": "float32", "tie_word_embeddings": False}
    inner = {"model_type": "x", "dtype": "bfloat16", "text_config": {"vocab_size": 64, "tie_word_embeddings": True}}
    made = config_of(inner, num_rows=70, dtype="float32", tied=False)
    assert made["text_config"] == {"vocab_size": 70, "tie_word_embeddings": False}
    assert (made["dtype"], made["tie_word_embeddings"]) == ("float32", False)
    assert "vocab_size" not in made


def test_the_tokens_of_another_model_bring_their_numbers() -> None:
    made = config_of(
        {**LLAMA, "eos_token_id": 2, "pad_token_id": 0}, tokens_of={"eos_token_id": [5, 6], "bos_token_id": 4}
    )
    assert (made["eos_token_id"], made["bos_token_id"], made["pad_token_id"]) == ([5, 6], 4, 0)


def test_blocks_that_are_stacked_take_what_is_said_of_them_along() -> None:
    kinds = ["full_attention", "sliding_attention", "full_attention", "sliding_attention"]
    reference = {**LLAMA, "layer_types": kinds, "mlp_only_layers": [0, 3], "eos_token_id": [1, 2, 3, 4]}
    made = config_of(reference, stacked={"model.layers.": [0, 1, 2, 1, 3]})
    assert made["num_hidden_layers"] == 5
    assert made["layer_types"] == [kinds[number] for number in (0, 1, 2, 1, 3)]
    assert made["mlp_only_layers"] == [0, 4]
    assert made["eos_token_id"] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", [Qwen2Config, GPTNeoConfig])
def test_stacked_configurations_are_read_by_transformers(kind: type) -> None:
    reference = kind(num_layers=4, attention_types=[[["global", "local"], 2]]) if kind is GPTNeoConfig else None
    reference = reference or kind(num_hidden_layers=4, use_sliding_window=True, max_window_layers=2)
    made = config_of(reference.to_dict(), stacked={"layers.": [0, 2, 3]})
    read = AutoConfig.for_model(made.pop("model_type"), **made)
    kinds = "attention_layers" if kind is GPTNeoConfig else "layer_types"
    assert read.num_hidden_layers == 3
    assert getattr(read, kinds) == [getattr(reference, kinds)[number] for number in (0, 2, 3)]


def test_encoder_and_decoder_have_numbers_of_their_own() -> None:
    t5 = config_of(T5Config(num_layers=4, num_decoder_layers=4).to_diff_dict(), stacked={"decoder.block.": [0, 3]})
    assert (t5["num_layers"], t5["num_decoder_layers"]) == (4, 2)
    bart = {**BartConfig(encoder_layers=4, decoder_layers=4).to_dict(), "num_hidden_layers": 4}
    made = config_of(bart, stacked={"model.encoder.layers.": [0, 1, 1]})
    assert (made["encoder_layers"], made["decoder_layers"], made["num_hidden_layers"]) == (3, 4, 3)
    both = {
        "num_layers": 2,
        "num_decoder_layers": 2,
        "decoder_layer_types": ["a", "b"],
        "encoder_layer_types": ["c", "d"],
    }
    made = config_of(both, stacked={"decoder.block.": [1]})
    assert (made["decoder_layer_types"], made["encoder_layer_types"]) == (["b"], ["c", "d"])
    opt = config_of({"num_hidden_layers": 4}, stacked={"model.decoder.layers.": [0]})
    assert opt["num_hidden_layers"] == 1


def test_what_depends_on_a_block_s_number_is_told_where_blocks_move() -> None:
    reference = {**LLAMA, "first_k_dense_replace": 3}
    assert merged_config(reference, stacked={"model.layers.": [0, 1, 2]})[1] == []
    assert "first_k_dense_replace" in merged_config(reference, stacked={"model.layers.": [0, 2]})[1][0]
    assert "must say that model.layers. has 2" in merged_config({}, stacked={"model.layers.": [0, 2]})[1][0]


def test_quantised_weights_are_refused() -> None:
    with pytest.raises(MergeError, match="quantised, which cannot be merged"):
        merged_config({**LLAMA, "quantization_config": {"bits": 4}})
