"""Every method on every family of the anatomy's list: it learns, changes nothing else, is saved and folded.

Some of them, with each method and each family among them, are resumed, or learn with checkpointing and in bf16. Or it
is refused in words. docs/methods.md is written from what came out.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from luthier.component import Facts, find, names
from luthier.errors import LuthierError, MethodError, ModelError, RecipeError
from luthier.evaluation.predict import predict
from luthier.interrupt import Interrupted, Stop
from luthier.methods import Method
from luthier.training.checkpoints import Checkpoints
from luthier.training.course import Material, course
from luthier.training.settings import Training
from tests.contracts.examples._example import Example
from tests.contracts.kinds import make
from tests.contracts.test_tasks import EXAMPLES
from tests.documents import hold, table
from tests.tiny import FAMILIES

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("full", {}),
    "partial": ("partial", {"train": ["head", "last-2", "norm"]}),
    "bitfit": ("partial", {"train": ["bias", "head"]}),
    "gradual": ("partial", {"train": ["all"], "unfreeze_every": 1, "layer_decay": 0.9}),
    "lora": ("lora", {}),
    "dora": ("lora", {"rank": 4, "dora": True}),
    "pissa": ("lora", {"rank": 4, "start": "pissa"}),
    "ia3": ("ia3", {}),
    "adapter": ("adapter", {"reduction": 4}),
    "houlsby": ("adapter", {"reduction": 4, "placement": "houlsby"}),
    "parallel": ("adapter", {"reduction": 4, "placement": "parallel"}),
    "prefix": ("prefix", {"length": 3}),
    "prompt": ("prompt", {"length": 3}),
    "setfit": ("setfit", {"enough": 0.0}),
}
"""The columns of the table: a kind and its settings."""
STEPS, STOPPED_AFTER = 8, 3
PREFERRED = ("causal-lm", "seq2seq", "text-classification")
"""What a family is used for most, if it can do it."""
BY_USE = sorted(EXAMPLES, key=lambda each: -PREFERRED.index(each.task.kind()) if each.task.kind() in PREFERRED else -9)
SOURCES = {family: (example, side) for example in BY_USE for family, side in example.families}
"""The task that each family is tried on."""
CLASSIFIERS = [example for example in EXAMPLES if example.task.kind() == "text-classification"]
CLASSIFIED = {family: (example, side) for example in reversed(CLASSIFIERS) for family, side in example.families}
"""The same for what tells classes apart alone."""
SETTLED = "sentence_head."
"""What no step moves, but the settling after the last one."""

PAIRS = [(name, family) for name in METHODS for family in sorted(FAMILIES)]
every_pair = pytest.mark.parametrize(("name", "family"), PAIRS)


GOES_ON, CHECKPOINTED = 3, 2
"""Whose turn the costly claims are."""


def pairs_of(turn: int) -> list[tuple[str, str]]:
    """One pair in four: each method meets several families, and each family several methods."""
    places = ((list(METHODS).index(name) + sorted(FAMILIES).index(family)) % 4 for name, family in PAIRS)
    return [pair for pair, place in zip(PAIRS, places, strict=True) if place == turn]


def method_of(name: str) -> Method:
    kind, settings = METHODS[name]
    found = find("methods", kind).model_validate({**make("methods", kind).model_dump(), **settings})
    assert isinstance(found, Method)
    return found


def source_of(kind: str, family: str) -> tuple[Example, str]:
    return CLASSIFIED.get(family, SOURCES[family]) if kind == "setfit" else SOURCES[family]


def made_for(method: Method, family: str, *, seed: int = 0) -> tuple[Material, Method]:
    """A family's tiny model with the method applied, and rows to learn from."""
    example, side = source_of(method.kind(), family)
    method.require(example.task)
    model, processor = example.build(family), example.processor(side)
    example.task.fit(model, processor)
    method = method.resolve(Facts(model=model, processor=processor, num_parameters=model.num_parameters()))
    method.extend(model, processor)
    method.apply(model, generator=torch.Generator().manual_seed(seed))
    rows = example.task.prepare(example.easy or example.rows, processor, training=True)
    return Material(model, processor, example.task, rows, None), method


def settings(**said: Any) -> Training:
    usual = {"steps": STEPS, "batch_size": 12, "learning_rate": 2e-3, "log_every": 1, "checkpoint_every": 1000}
    fixed = {"precision": "fp32", "device": "cpu", "cache": "off"}
    return Training.model_validate({**usual, **fixed, **said}).resolve(Facts(device="cpu"))


def learnt(made: Material, method: Method, folder: Path | None = None, *, stopped_after: int | None = None) -> None:
    """Train; with a folder, a stop leaves a checkpoint there, and a run goes on from the one it finds."""
    stop = Stop()
    kept = Checkpoints(folder, {"id": "this run"}, 1) if folder else None
    try:
        for record in course(made, method, settings(), checkpoints=kept, stop=stop):
            if record["event"] == "progress" and record["step"] == stopped_after:
                stop.asked_by = 2
        method.settle(made.model, made.task, {"train": made.train}, made.processor, batch_size=6, batch_tokens=None)
    except Interrupted:
        assert stopped_after is not None


def answers(made: Material, example: Example) -> np.ndarray:
    """The loss of each row, in eval mode."""
    rows = example.task.prepare(example.easy or example.rows, made.processor)
    torch.manual_seed(0)
    told = predict(made.model.eval(), example.task, rows, made.processor, batch_size=6, answers=False)
    return np.array([prediction.loss for prediction in told])


def weights(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict(keep_vars=True).items()}


def made_if_taken(name: str, family: str, *, seed: int = 0) -> tuple[Material, Method]:
    try:
        return made_for(method_of(name), family, seed=seed)
    except (MethodError, ModelError, RecipeError):
        pytest.skip("refused")  # the table in the docs holds which, and how it is told


@every_pair
def test_a_method_on_a_family_learns_and_is_saved_and_folded(name: str, family: str, tmp_path: Path) -> None:
    made, method = made_if_taken(name, family)
    example, _ = source_of(method.kind(), family)
    learning = {n for n, p in made.model.named_parameters(remove_duplicate=False) if p.requires_grad}
    before, loss = weights(made.model), answers(made, example).sum()
    learnt(made, method)
    changed = {n for n, tensor in weights(made.model).items() if not torch.equal(tensor, before[n])}
    changed = {n for n in changed if not n.startswith(SETTLED)}
    buffers = {n for n, _ in made.model.named_buffers()}
    assert changed - buffers <= learning
    assert len(changed & learning) > 0.5 * len(learning)
    found = answers(made, example)
    assert found.sum() < loss

    method.save(made.model, tmp_path / "saved")
    fresh, method = made_for(method_of(name), family, seed=1)
    method.load(fresh.model, tmp_path / "saved")
    np.testing.assert_allclose(answers(fresh, example), found, rtol=1e-6, atol=1e-6)
    with contextlib.suppress(MethodError):
        method.fold(fresh.model)
    np.testing.assert_allclose(answers(fresh, example), found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "family"), pairs_of(GOES_ON))
def test_a_method_on_a_family_goes_on_bit_by_bit(name: str, family: str, tmp_path: Path) -> None:
    made, method = made_if_taken(name, family)
    learnt(made, method, tmp_path / "calm")
    early, method = made_for(method_of(name), family)
    learnt(early, method, tmp_path / "stopped", stopped_after=STOPPED_AFTER)
    again, method = made_for(method_of(name), family)
    learnt(again, method, tmp_path / "stopped")
    found = weights(again.model)
    assert all(torch.equal(tensor, found[n]) for n, tensor in weights(made.model).items())


@pytest.mark.parametrize(("name", "family"), pairs_of(CHECKPOINTED))
def test_checkpointing_and_bf16_learn_the_same(name: str, family: str) -> None:
    losses = {}
    for how in ({}, {"checkpointing": "blocks"}, {"precision": "bf16"}):
        made, method = made_if_taken(name, family)
        asked = settings(steps=2, **how)
        try:
            records = list(course(made, method, asked))
        except ModelError:  # no blocks to compute again
            assert how == {"checkpointing": "blocks"}
            continue
        losses[str(how)] = [r["loss"] for r in records if r["event"] == "step"]
    plain, *others = losses.values()
    for other in others[:-1]:
        assert other == pytest.approx(plain, rel=1e-5)
    assert others[-1] == pytest.approx(plain, rel=0.05)


def refusals() -> Iterator[tuple[str, str, str | None]]:
    """Of each pair, why it is refused, if it is."""
    for family in sorted(FAMILIES):
        for name in METHODS:
            try:
                made_for(method_of(name), family)
                yield family, name, None
            except LuthierError as refusal:
                yield family, name, str(refusal)


def test_every_kind_is_in_the_table() -> None:
    assert {kind for kind, _ in METHODS.values()} == set(names("methods"))


def test_the_table_of_methods_and_families_is_in_the_docs() -> None:
    found = {(family, name): reason for family, name, reason in refusals()}
    for turn in (GOES_ON, CHECKPOINTED):
        taken = [pair for pair in pairs_of(turn) if found[pair[1], pair[0]] is None]
        assert ({name for name, _ in taken}, {family for _, family in taken}) == (METHODS.keys(), FAMILIES.keys())
    numbers = {reason: number for number, reason in enumerate(dict.fromkeys(filter(None, found.values())), 1)}
    rows = [
        [
            family,
            *("yes" if found[family, name] is None else f"no ({numbers[found[family, name]]})" for name in METHODS),
        ]
        for family in sorted(FAMILIES)
    ]
    reasons = "\n".join(f"{number}. {reason}" for reason, number in numbers.items())
    hold("methods.md", DOCUMENT.format(table=table(["family", *METHODS], rows), reasons=reasons))


DOCUMENT = """# Methods, and the families they were tried on

A page each: [full](methods/full.md), [partial](methods/partial.md), [lora](methods/lora.md) (with DoRA, PiSSA, LoRA+),
[qlora](methods/qlora.md), [ia3](methods/ia3.md), [adapter](methods/adapter.md), [prefix](methods/prefix.md),
[prompt](methods/prompt.md), [setfit](methods/setfit.md). `luthier compare` puts them side by side on rows of your own.

*yes*: a tiny model of the real class learnt by it, nothing but what should learn changed, what was saved answered the
same in a fresh model, and folded weights (or the refusal to fold) too. On every fourth pair, with each method and each
family among them, a run that was stopped went on bit by bit, and on as many others checkpointing and bf16 gave the same
losses (`tests/test_methods_matrix.py`, which also writes this page).

{table}

What is refused, and how that is told:

{reasons}
"""
