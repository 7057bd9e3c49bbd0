"""Rows laid flat: the same states, losses and gradients as padded ones, in every family that takes them."""

from typing import Any

import pytest
import torch

from luthier.models import flat_trial, forward
from luthier.models.flat import FIRST_POSITION, NEVER, is_laid
from luthier.models.flat_trial import lay_flat
from luthier.models.packed import packed_inputs
from tests.tiny import FAMILIES, batch, classification, model_for, rows, tiny

REFUSED = {"deberta-v2", "bloom", "xlnet"}
"""They have attention of their own, which transformers' table of functions does not reach."""
POOLS_OUTSIDE = {"albert"}
"""Its body picks each row's first token itself, before its pooler can be told where it lies."""
OTHERS = {"t5", "bart", "marian", "whisper", "wav2vec2", "hubert", "wav2vec2-conformer"}
"""Encoder-decoders, and those that hear."""
ALONE = sorted(FAMILIES.keys() - OTHERS)
WINDOWS: list[tuple[str, dict[str, Any]]] = [
    ("mistral", {"sliding_window": 4}),
    ("gemma3_text", {"sliding_window": 4}),
    ("modernbert", {"local_attention": 4}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2}),
]


@pytest.mark.parametrize("family", ALONE)
def test_families_that_call_the_interface_take_flat_rows(family: str) -> None:
    assert lay_flat(tiny(family, head="sequence-classification")) == (family not in REFUSED | POOLS_OUTSIDE)


def test_a_model_is_left_as_it_was_found() -> None:
    model = tiny("roberta", head="sequence-classification").train()
    attention, weights = model.config._attn_implementation, {k: v.clone() for k, v in model.state_dict().items()}
    assert lay_flat(model)
    assert getattr(model, FIRST_POSITION) == 2, "its positions begin behind the padding's"
    assert model.training
    assert model.config._attn_implementation == attention
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(("family", "settings"), WINDOWS)
def test_windows_are_heeded(family: str, settings: dict[str, Any]) -> None:
    assert lay_flat(tiny(family, head="sequence-classification", **settings)), (
        "the rows that it is tried with are longer than the window"
    )


@pytest.mark.parametrize("family", [name for name in ALONE if name not in REFUSED | POOLS_OUTSIDE | {"mixtral"}])
def test_loss_and_whole_gradient_are_those_of_padded_rows(family: str) -> None:
    task = classification()
    model = model_for(task, family, pad_token_id=0).double()  # as the tokenizer has it: RoBERTa counts by it
    given = batch(task, rows(9))

    def told() -> tuple[torch.Tensor, list[torch.Tensor]]:
        model.zero_grad()
        total = task.loss(model, given).total
        total.sum().backward()
        return total, [torch.zeros(1) if p.grad is None else p.grad.clone() for p in model.parameters()]

    wanted, gradients = told()
    assert lay_flat(model)
    found, ours = told()
    assert is_laid(model)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    for ours_of_one, theirs in zip(ours, gradients, strict=True):
        rounding = 1e-6 if family == "gemma3_text" else 1e-10  # its norms round to fp32
        torch.testing.assert_close(ours_of_one, theirs, rtol=rounding, atol=rounding)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_packed_rows_go_the_same_way(family: str) -> None:
    model = tiny(family, head="lm")
    model.config.use_cache = False
    examples = [[5, 6, 7, 8], [9, 10], [11, 12, 13]]
    alone = [forward.hidden(model, {"input_ids": torch.tensor([ids])})["last_hidden_state"][0] for ids in examples]
    assert lay_flat(model)
    inputs = {name: torch.from_numpy(ids)[None] for name, ids in packed_inputs(examples).items()}
    packed = forward.hidden(model, inputs)["last_hidden_state"]
    torch.testing.assert_close(packed[0], torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_no_layer_sees_padding() -> None:
    task = classification()
    model, given = model_for(task, "bert"), batch(task, rows(9))
    seen: list[int] = []
    model.bert.encoder.layer[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[1]))
    assert lay_flat(model)
    seen.clear()
    task.loss(model, given)
    assert seen == [given.num_tokens]
    assert given.num_padding > 0


def test_encoder_decoders_and_sound_stay_padded() -> None:
    assert not lay_flat(tiny("bart", head="lm"))
    assert not lay_flat(tiny("wav2vec2", head="lm"))


def test_models_that_are_built_alike_on_one_base_are_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    original = flat_trial.lay_flat

    def lay(model: Any) -> bool:
        tried.append(model)
        return original(model)

    monkeypatch.setattr(flat_trial, "lay_flat", lay)
    verdicts = flat_trial.Verdicts()
    models = [tiny("roberta", head="sequence-classification") for _ in range(3)]
    models[2].classifier.dropout = torch.nn.Identity()
    assert all(verdicts.lay_flat(model, "base") for model in models)
    assert [getattr(model, FIRST_POSITION) for model in models] == [2, 2, 2]
    assert tried == [models[0], models[2]], "the second is as the first"
    assert verdicts.lay_flat(models[1], "another base")
    assert len(tried) == 3
    setattr(models[1], NEVER, True)
    delattr(models[1], FIRST_POSITION)
    assert not verdicts.lay_flat(models[1], "base"), "something that was put in refuses"
    assert not is_laid(models[1])
    refused = [tiny("albert", head="sequence-classification") for _ in range(2)]
    assert not any(verdicts.lay_flat(model, "albert") for model in refused)
    assert not any(is_laid(model) for model in refused)
    assert len(tried) == 4
