"""What every method does, on encoders and decoders, on Conv1D and on an encoder with a decoder."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.errors import MethodError
from luthier.methods import Method
from luthier.models import forward
from luthier.models.anatomy import read
from luthier.tasks import Batch
from luthier.training.loop import Step, TrainState, train
from luthier.training.settings import Training
from tests.contracts.kinds import all_of, kind_of
from tests.tiny import batch, classification, model_for, rows, separable
from tests.training.courses import whole

FAMILIES = ("bert", "gpt2", "llama", "t5")
TASK = classification()
LEAVES_THE_BASE = {"full", "partial", "lora", "ia3", "adapter"}
"""Methods after whose `apply` the model still answers as the base did."""

SETTLED = {"setfit"}
"""Methods whose model answers only once it is settled, and which another suite holds to the same: tests/methods/."""

METHODS = [method for method in all_of("methods") if method.kind() not in SETTLED]
every_method = pytest.mark.parametrize("method", METHODS, ids=kind_of)
every_family = pytest.mark.parametrize("family", FAMILIES)


def applied(method: Method, family: str, *, seed: int = 0) -> PreTrainedModel:
    model = model_for(TASK, family)
    method.apply(model, generator=torch.Generator().manual_seed(seed))
    return model


def learn(model: PreTrainedModel, method: Method, batches: Sequence[Batch]) -> list[Step]:
    """One real step of the one loop for each batch."""
    settings = Training(steps=len(batches), learning_rate=1e-2, device="cpu", precision="fp32")
    state = TrainState.start(model, method, settings, len(batches))
    return list(train(model, TASK, [whole(each) for each in batches], settings, state))


def learnt(method: Method, family: str) -> PreTrainedModel:
    model = applied(method, family)
    learn(model, method, [batch(TASK, rows(8, seed=seed)) for seed in range(3)])
    return model.eval()


@torch.no_grad()
def logits(model: PreTrainedModel) -> Tensor:
    return model.eval()(**batch(TASK, rows(6)).inputs).logits


@torch.no_grad()
def hidden(model: PreTrainedModel) -> Tensor:
    """What the body answers: the head, which is new, belongs to no base."""
    return forward.hidden(model.eval(), batch(TASK, rows(6)).inputs).last_hidden_state


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict(keep_vars=True).items()}


@every_family
@every_method
def test_only_what_is_trainable_changes(method: Method, family: str) -> None:
    model = applied(method, family)
    before = state(model)
    trainable = {name for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    learn(model, method, [batch(TASK, rows(8, seed=seed)) for seed in range(3)])
    changed = {name for name, tensor in state(model).items() if not torch.equal(tensor, before[name])}
    assert changed <= trainable
    # A key's bias moves no softmax, the pad's word is looked up by nobody, and so on: most, but not all, move.
    assert len(changed) > 0.8 * len(trainable)


@every_family
@every_method
def test_the_head_learns(method: Method, family: str) -> None:
    model = applied(method, family)
    heads = [model.get_submodule(name) for name in read(model).outside["head"]]
    assert all(p.requires_grad for module in heads for p in module.parameters(recurse=False))


@every_family
@every_method
def test_it_starts_as_the_base_model(method: Method, family: str) -> None:
    if method.kind() not in LEAVES_THE_BASE:
        pytest.skip("starts elsewhere")
    assert torch.equal(logits(applied(method, family)), logits(model_for(TASK, family)))


@every_family
@every_method
def test_what_was_saved_predicts_the_same_in_a_fresh_model(method: Method, family: str, tmp_path: Path) -> None:
    model = learnt(method, family)
    method.save(model, tmp_path / "learnt")
    fresh = applied(method, family, seed=1)
    method.load(fresh, tmp_path / "learnt")
    assert not torch.equal(logits(model), logits(model_for(TASK, family)))
    assert torch.equal(logits(fresh), logits(model))


@every_method
def test_what_another_model_learnt_is_refused(method: Method, tmp_path: Path) -> None:
    method.save(applied(method, "bert"), tmp_path)
    with pytest.raises(MethodError, match=str(tmp_path)):
        method.load(applied(method, "gpt2"), tmp_path)


@every_family
@every_method
def test_folded_weights_predict_the_same_or_folding_is_refused(method: Method, family: str) -> None:
    model = learnt(method, family)
    unfolded = logits(model)
    try:
        method.fold(model)
    except MethodError:
        assert torch.equal(logits(model), unfolded)
        return
    torch.testing.assert_close(logits(model), unfolded, rtol=0, atol=1e-5)
    assert set(model.state_dict()) == set(model_for(TASK, family).state_dict())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@every_family
@every_method
def test_switched_off_the_base_answers_again_or_that_is_refused(method: Method, family: str) -> None:
    model, base = learnt(method, family), hidden(model_for(TASK, family))
    before = logits(model)
    try:
        with method.off(model):
            assert torch.equal(hidden(model), base)
    except MethodError:
        pass
    else:
        assert not torch.equal(hidden(model), base)
    assert torch.equal(logits(model), before)


@every_method
def test_it_is_on_again_after_an_error(method: Method) -> None:
    model = learnt(method, "bert")
    before = logits(model)
    with contextlib.suppress(MethodError, ZeroDivisionError), method.off(model):
        raise ZeroDivisionError
    assert torch.equal(logits(model), before)


@every_family
@every_method
def test_the_same_generator_gives_the_same_start(method: Method, family: str) -> None:
    one, same = state(applied(method, family)), state(applied(method, family))
    assert one.keys() == same.keys()
    assert all(torch.equal(one[name], same[name]) for name in one)


@every_method
def test_new_parameters_ignore_the_global_seed(method: Method) -> None:
    torch.manual_seed(1)
    one = state(applied(method, "bert"))
    torch.manual_seed(2)
    same = state(applied(method, "bert"))
    assert all(torch.equal(one[name], same[name]) for name in one)


@every_family
@every_method
def test_it_learns(method: Method, family: str) -> None:
    # Wider random weights: else the blocks answer nearly the same to all, and a head alone has nothing to see.
    model = model_for(TASK, family, initializer_range=0.2)
    method.apply(model, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    losses = [step.loss for step in learn(model, method, [batch(TASK, separable(12))] * 30)]
    assert sum(losses[-5:]) / 5 < 0.9 * losses[0]


@every_family
@every_method
def test_groups_hold_every_trainable_parameter_once(method: Method, family: str) -> None:
    model = applied(method, family)
    grouped = [id(p) for group in method.groups(model) for p in group.parameters]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)


@every_family
@every_method
def test_norms_and_biases_are_not_decayed(method: Method, family: str) -> None:
    model = applied(method, family)
    decayed = {id(p) for group in method.groups(model) if group.weight_decay for p in group.parameters}
    norms = [model.get_submodule(name) for name in read(model).roles["norm"]]
    exempt = [p for module in norms for p in module.parameters(recurse=False)]
    exempt += [p for name, p in model.named_parameters() if name.endswith("bias")]
    assert not any(id(p) in decayed for p in exempt)
    assert decayed


@every_family
@every_method
def test_what_learns_is_held_in_fp32(method: Method, family: str) -> None:
    model = model_for(TASK, family).to(torch.bfloat16)
    method.apply(model, generator=torch.Generator().manual_seed(0))
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


@every_method
def test_smaller_models_learn_no_slower(method: Method) -> None:
    rates = [method.learning_rate(Facts(num_parameters=int(size))) for size in (1e6, 1e8, 1e9)]
    assert rates == sorted(rates, reverse=True)
    assert all(1e-6 < rate < 1e-1 for rate in rates)
