"""States of the frozen part that are given back are those that were computed, so losses and gradients stay the same."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel

from luthier.methods.lora import Lora
from luthier.models.anatomy import read
from luthier.models.checkpointing import checkpointed
from luthier.models.dropout import fast_dropout
from luthier.models.flat import FIRST_POSITION
from luthier.models.flat_trial import lay_flat
from luthier.models.frozen import cache as frozen
from luthier.tasks.causal_lm import CausalLM
from luthier.tasks.masked_lm import MaskedLM
from tests.contracts.examples._example import Example
from tests.contracts.test_tasks import EXAMPLES
from tests.models.frozen.freezing import (
    TASK,
    assert_same,
    cache_for,
    cache_of,
    example_batch,
    example_cache,
    keyed,
    learning,
    made_to_learn,
    result,
    texts,
    uncached,
)  # fmt: skip
from tests.sounds import tiny_speech
from tests.tiny import FAMILIES, model_for, tiny, tokenizer
from tests.tiny import texts as words

HEARS, UNREAD = {"whisper", "wav2vec2"}, {"xlnet"}
"""Families of other inputs, and one whose blocks are not found."""
TEXT = sorted(FAMILIES.keys() - HEARS - UNREAD - {"marian"})
every_text_family = pytest.mark.parametrize("family", TEXT)
every_part = pytest.mark.parametrize("parts", [("head",), ("last-2", "head")], ids="+".join)
every_task = pytest.mark.parametrize(
    ("example", "family", "side"),
    [
        (example, *family)
        for example in EXAMPLES
        for family in (example.families if example.task.kind() == "seq2seq" else example.families[:1])
        if not isinstance(example.task, MaskedLM)  # draws the tokens that a model is shown
    ],
    ids=lambda value: f"{value.task.kind()}-{value.name}" if isinstance(value, Example) else value,
)


def num_calls(model: PreTrainedModel, run: Callable[[], object]) -> int:
    """How often a layer inside a block computes."""
    calls: list[nn.Module] = []
    layers = [model.get_submodule(name) for name in read(model).linears]
    handles = [layer.register_forward_hook(lambda layer, *_: calls.append(layer)) for layer in layers]
    run()
    for handle in handles:
        handle.remove()
    return len(calls)


@every_part
@every_text_family
def test_recorded_and_replayed_is_what_was_computed(family: str, parts: tuple[str, ...]) -> None:
    model = learning(family, *parts)
    cache, batch = cache_for(model), texts(range(6))
    expected = uncached(model, batch, cache)
    assert_same(result(model, batch), expected)
    assert cache.holds(batch)
    # Experts see all tokens of a batch at once, padding too, and so round otherwise.
    assert_same(result(model, batch), expected, rtol=1e-5 if family == "mixtral" else 0.0)
    assert (cache.num_rows, cache.num_replayed) == (12, 6)


@pytest.mark.parametrize(("parts", "learns"), [(("head",), 0), (("last-1", "head"), 1), (("last-2", "head"), 2)])
@pytest.mark.parametrize("family", ["bert", "gpt_neox", "llama", "deberta-v2"])
def test_what_is_replayed_is_not_computed(family: str, parts: tuple[str, ...], learns: int) -> None:
    model = learning(family, *parts)
    cache, batch = cache_for(model), texts(range(6))
    every = num_calls(model, lambda: uncached(model, batch, cache))
    result(model, batch)
    assert num_calls(model, lambda: result(model, batch)) == learns * every / 4


@every_task
def test_every_task_replays_what_was_computed(example: Example, family: str, side: str) -> None:
    model = made_to_learn(example.build(family), "last-1")
    cache, batch = example_cache(model, example, side), example_batch(example, range(6), side)
    expected = uncached(model, batch, cache, example.task)
    assert_same(result(model, batch, example.task), expected)
    assert cache.holds(batch)
    assert_same(result(model, batch, example.task), expected)


@every_task
def test_predictions_are_served_and_generations_are_not(example: Example, family: str, side: str) -> None:
    if example.task.couples_rows:
        pytest.skip("answers are tensors until all rows are there")
    model = made_to_learn(example.build(family), "last-1").eval()
    cache, batch = example_cache(model, example, side), example_batch(example, range(4), side)
    told = []
    for _ in range(3):
        with torch.inference_mode(), frozen.around(model, batch) as here:
            told.append(example.task.predict(model, here))
    cache.close()
    with torch.inference_mode():
        told.append(example.task.predict(model, batch))
    assert told[0] == told[1] == told[2] == told[3]
    assert cache.holds(batch)


@pytest.mark.parametrize("family", ["bert", "albert", "deberta-v2", "gpt2", "llama", "t5", "bart"])
def test_states_are_kept_in_bf16_where_that_is_asked_for(family: str) -> None:
    model = learning(family, "last-1", "head")
    cache, batch = cache_for(model, dtype=torch.bfloat16), texts(range(6))
    computed = uncached(model, batch, cache)
    recorded = result(model, batch)
    assert_same(recorded, computed, rtol=0.1)
    assert_same(result(model, batch), recorded)
    assert batch.keys is not None
    assert {each.dtype for key in batch.keys for each in cache.store[key]} == {torch.bfloat16}


@pytest.mark.parametrize("family", ["bert", "albert", "deberta-v2", "gpt2", "llama", "t5", "bart"])
def test_rows_come_back_in_other_batches(family: str) -> None:
    """Their padding is not theirs, and is not kept."""
    model = learning(
        family,
        "last-1",
        "head",
        dtype=torch.float64,
    )
    cache = cache_for(model)
    for numbers in ([0, 1, 2], [3, 4, 5]):
        result(model, texts(numbers))
    batch = texts([5, 0, 4])
    assert cache.holds(batch)
    assert_same(result(model, batch), uncached(model, batch, cache), rtol=1e-10)


@pytest.mark.parametrize("family", ["llama", "bloom", "gpt_neox"])
def test_padding_on_the_left_is_not_kept_either(family: str) -> None:
    model = learning(family, "last-1", "head")
    cache = cache_of(model, texts([4, 5], "left"), texts([4], "left"))
    batch = texts(range(6), "left")
    expected = uncached(model, batch, cache)
    result(model, batch)
    assert_same(result(model, batch), expected)
    assert batch.keys is not None
    lengths = [len(cache.store[key][0]) for key in batch.keys]
    assert lengths == batch.inputs["attention_mask"].sum(-1).tolist()


@pytest.mark.parametrize(
    ("family", "words"), [("bert", "3 of 4 blocks"), ("llama", "3 of 4 blocks"), ("t5", "3 of 4 blocks of the encoder")]
)
def test_updates_that_hang_on_upper_blocks_alone_leave_a_frozen_part(family: str, words: str) -> None:
    model = model_for(TASK, family)
    Lora(rank=2, targets=("re:.*[.]3[.].*",)).apply(model, generator=torch.Generator().manual_seed(0))
    assert cache_for(model.train()).part.words == words


def test_the_frozen_part_rests_and_the_rest_does_not() -> None:
    model = learning("bert", "last-1", "head")
    cache, batch = cache_for(model), texts(range(3))
    modes: dict[nn.Module, bool] = {}

    def note(module: nn.Module, _: object) -> None:
        modes.setdefault(module, module.training)

    for module in model.modules():
        module.register_forward_pre_hook(note)
    result(model, batch)
    training = {name for name, module in model.named_modules() if modes.get(module)}
    assert {name for name in training if not name.startswith("bert.encoder.layer.3")} == {"", "classifier", "dropout"}
    assert "bert.encoder.layer.3" in training
    assert all(module.training for module in model.modules())
    assert cache.part.words == "3 of 4 blocks"


@pytest.mark.parametrize("family", ["bart", "wav2vec2"])
def test_layers_are_not_dropped_in_the_frozen_part(family: str) -> None:
    if family == "wav2vec2":
        example = next(each for each in EXAMPLES if each.name == "wav2vec2")
        model = made_to_learn(tiny_speech(family, layerdrop=0.99, mask_time_prob=0.9, mask_time_length=2), "last-1")
        example_cache(model, example)
        batch = example_batch(example, range(3))
        first, again = (result(model, batch, example.task) for _ in "ab")
    else:
        model = learning(family, "last-1", "head", encoder_layerdrop=0.99)
        cache_for(model)
        first, again = (result(model, texts(range(3))) for _ in "ab")
    assert_same(again, first)


@pytest.mark.parametrize("family", ["bert", "llama", "t5", "deberta-v2"])
@pytest.mark.parametrize("what", ["blocks", "selective"])
def test_checkpointing_computes_again_from_what_was_replayed(family: str, what: Any) -> None:
    model = learning(family, "last-2", "head")
    cache, batch = cache_for(model), texts(range(6))
    with fast_dropout("cpu"), checkpointed(model, what):
        expected = uncached(model, batch, cache)
        result(model, batch)
        assert_same(result(model, batch), expected, rtol=1e-5)


def test_convolutions_over_sound_do_not_run_for_rows_that_are_kept() -> None:
    example = next(each for each in EXAMPLES if each.name == "wav2vec2")
    model = made_to_learn(example.build("wav2vec2"), "last-1")
    example_cache(model, example)
    batch, calls = example_batch(example, range(3)), []
    for name in ("feature_extractor.conv_layers.0.conv", "encoder.pos_conv_embed.conv"):
        model.wav2vec2.get_submodule(name).register_forward_hook(lambda *_: calls.append(1))
    result(model, batch, example.task)
    assert len(calls) == 2
    result(model, batch, example.task)
    assert len(calls) == 2


def test_a_frozen_whisper_encoder_runs_once_for_each_row() -> None:
    example = next(each for each in EXAMPLES if each.name == "whisper")
    model = made_to_learn(example.build("whisper"), "decoder")
    cache = example_cache(model, example)
    assert cache.part.words == "the encoder"
    batch, calls = example_batch(example, range(3)), []
    for layer in (model.model.encoder.conv1, model.model.encoder.layers[0].fc1):
        layer.register_forward_hook(lambda *_: calls.append(1))
    expected = uncached(model, batch, cache, example.task)
    assert len(calls) == 2
    result(model, batch, example.task)
    assert_same(result(model, batch, example.task), expected)
    assert len(calls) == 4


def test_nothing_is_left_on_the_model() -> None:
    model = learning("bert", "last-1", "head")
    cache = cache_for(model)
    result(model, texts(range(3)))
    with pytest.raises(IndexError):
        result(model, replace(texts([0]), inputs={**texts([0]).inputs, "token_type_ids": torch.full((1, 30), 9)}))
    cache.close()
    assert not frozen.is_served(model)
    assert not any("forward" in vars(module) for module in model.modules())
    assert all(module.training for module in model.modules())


def test_a_batch_without_keys_is_computed_as_ever() -> None:
    model = learning("bert", "last-1", "head")
    cache, batch = cache_for(model), replace(texts(range(3)), keys=None)
    before = cache.num_rows
    result(model, batch)
    assert (cache.num_rows, cache.store.num_bytes) == (before, 0)


def test_rows_beyond_the_budget_are_computed() -> None:
    model = learning("bert", "last-1", "head")
    cache, batch = cache_for(model, budget_bytes=4000), texts(range(6))
    expected = uncached(model, batch, cache)
    for _ in range(2):
        assert_same(result(model, batch), expected)
    assert 0 < cache.store.num_bytes <= 4000
    assert not cache.holds(batch)


@pytest.mark.parametrize("parts", [("head",), ("last-2", "head")], ids="+".join)
@pytest.mark.parametrize("family", ["bert", "modernbert", "gpt2", "llama"])
def test_rows_that_lie_flat_are_replayed_too(family: str, parts: tuple[str, ...]) -> None:
    model = learning(family, *parts)
    assert lay_flat(model)
    cache, batch = cache_for(model), texts(range(6))
    expected = uncached(model, batch, cache)
    assert_same(result(model, batch), expected)
    result(model, texts([7]))  # it lies flat and padded at once
    assert_same(result(model, batch), expected)
    assert cache.num_replayed == 6


@pytest.mark.parametrize("is_flat", [False, True], ids=["padded", "flat"])
def test_packed_rows_are_replayed_too(is_flat: bool) -> None:
    task = CausalLM(max_length=24, packing=True, add_end=False)
    prepared = task.prepare(Dataset.from_dict({"text": words(30)}), tokenizer(), training=True)
    assert "position_ids" in prepared.column_names
    model = made_to_learn(tiny("llama", head="lm", use_cache=False), "last-1")
    assert lay_flat(model) or not is_flat
    if not is_flat:
        delattr(model, FIRST_POSITION)
    pair, alone, batch = (keyed(task, prepared, numbers, tokenizer()) for numbers in ([1, 2], [1], [0, 1, 2, 3]))
    cache = cache_of(model, pair, alone, task=task)
    expected = uncached(model, batch, cache, task)
    assert_same(result(model, batch, task), expected)
    assert_same(result(model, batch, task), expected)
    assert cache.num_replayed == 4
