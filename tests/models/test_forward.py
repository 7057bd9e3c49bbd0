"""Hidden states and head, called apart, are the model's own forward pass, bit by bit."""

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from luthier.models import forward
from tests.contracts.examples.seq2seq import two_in_one
from tests.tiny import batch, classification, model_for, rows, tiny

FAMILIES = ("bert", "roberta", "distilbert", "gpt2", "llama", "t5", "bart", "deberta-v2")
TASK = classification()

every_family = pytest.mark.parametrize("family", FAMILIES)


def inputs() -> dict[str, Tensor]:
    return batch(TASK, rows(5)).inputs


def in_two(model: PreTrainedModel, given: dict[str, Tensor]) -> Tensor:
    return forward.head(model, forward.hidden(model, given), given)


def gradients(model: PreTrainedModel, logits: Tensor) -> list[Tensor]:
    return torch.autograd.grad(logits.logsumexp(-1).sum(), list(model.parameters()), allow_unused=True)


def traces(model: PreTrainedModel) -> int:
    """Hooks, and forwards of a module's own."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + ("forward" in vars(m)) for m in model.modules())


@every_family
def test_two_calls_give_the_logits_of_one(family: str) -> None:
    model, given = model_for(TASK, family), inputs()
    assert torch.equal(in_two(model, given), model(**given).logits)


@every_family
def test_two_calls_give_the_gradients_of_one(family: str) -> None:
    model, given = model_for(TASK, family), inputs()
    one, two = gradients(model, model(**given).logits), gradients(model, in_two(model, given))
    for expected, found in zip(one, two, strict=True):
        assert (expected is None) == (found is None)
        assert expected is None or torch.equal(expected, found)


@every_family
def test_hidden_states_are_the_bases_own(family: str) -> None:
    model, given = model_for(TASK, family), inputs()
    found = forward.hidden(model, given).last_hidden_state
    assert found.shape == (5, given["input_ids"].shape[1], 32)
    assert torch.equal(found, model(**given, output_hidden_states=True)[_last(family)][-1])


def _last(family: str) -> str:
    return "decoder_hidden_states" if family in ("t5", "bart") else "hidden_states"


def test_the_head_sees_the_hidden_states_it_is_given() -> None:
    model, given = model_for(TASK, "gpt2"), inputs()
    answer = forward.hidden(model, given)
    answer.last_hidden_state = torch.zeros_like(answer.last_hidden_state)
    assert torch.equal(forward.head(model, answer, given), torch.zeros(5, 3))


@every_family
def test_the_body_is_not_run_for_the_head(family: str) -> None:
    model, given = model_for(TASK, family), inputs()
    answer, runs = forward.hidden(model, given), []
    handle = model.get_input_embeddings().register_forward_pre_hook(lambda *_: runs.append(1))
    forward.head(model, answer, given)
    assert runs == []
    handle.remove()


@every_family
def test_nothing_is_left_on_the_model(family: str) -> None:
    model, given = model_for(TASK, family), inputs()
    in_two(model, given)
    assert traces(model) == 0


@pytest.mark.parametrize("broken", ["hidden", "head"])
def test_nothing_is_left_on_the_model_after_an_error(broken: str) -> None:
    model, given = model_for(TASK), inputs()
    answer = forward.hidden(model, given)
    if broken == "hidden":
        with pytest.raises(IndexError):
            forward.hidden(model, {"input_ids": torch.tensor([[999]])})
    else:
        answer.pooler_output = torch.zeros(5, 7)
        with pytest.raises(RuntimeError):
            forward.head(model, answer, given)
    assert traces(model) == 0
    assert torch.equal(in_two(model, given), model(**given).logits)


def test_a_forward_of_the_bases_own_is_put_back() -> None:
    """As accelerate's hooks set one."""
    model, given = model_for(TASK), inputs()
    calls, original = [], model.bert.forward
    model.bert.forward = lambda *args, **kwargs: (calls.append(1), original(*args, **kwargs))[1]
    in_two(model, given)
    model(**given)
    assert calls == [1, 1]


def test_a_model_without_a_head_is_a_body_itself() -> None:
    body = model_for(TASK).bert.eval()
    assert torch.equal(forward.hidden(body, inputs())["last_hidden_state"], body(**inputs()).last_hidden_state)


@pytest.mark.filterwarnings("ignore:Version v4.12.0 introduces:FutureWarning")
@pytest.mark.parametrize("family", ["t5", "bart", "marian", "two encoders, the second narrower"])
def test_logits_at_positions_are_the_models_own(family: str) -> None:
    model = tiny(family, head="lm") if family in ("t5", "bart", "marian") else two_in_one()
    model.config.pad_token_id, model.config.decoder_start_token_id = 0, 1
    targets = torch.tensor([[5, 6, 7, 2], [8, 2, -100, -100]])
    given = {"input_ids": torch.tensor([[1, 9, 10, 2], [1, 9, 2, 0]]), "labels": targets}
    found = forward.logits_at(model, forward.hidden(model, given), targets != -100)
    torch.testing.assert_close(found, model(**given).logits[targets != -100])
