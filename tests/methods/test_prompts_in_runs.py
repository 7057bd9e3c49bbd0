"""Runs of prefixes and prompts, from a recipe to predictions: nothing is folded, and the self-check holds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.groundwork import make_ready
from luthier.methods.prefix import Prefix
from luthier.methods.prompt import Prompt
from luthier.models.frozen.points import NotServed, find
from luthier.planning.stages import training
from luthier.planning.subject import ready
from luthier.run import Run
from tests.methods.before_rows import inputs, tokens
from tests.planning.test_plan import planned
from tests.runs import tiny_run
from tests.tiny import tiny

METHODS = [
    {"kind": "prefix", "length": 4},
    {"kind": "prefix", "length": 4, "reparametrize": 16},
    {"kind": "prefix", "length": 4, "start": "text", "text": "w1 w2", "positions": "shifted"},
    {"kind": "prompt", "length": 3, "start": "text", "text": "w1 w2"},
]


@pytest.mark.parametrize("method", METHODS, ids=lambda said: "-".join(map(str, said.values())))
def test_a_run_learns_and_is_opened_again(method: dict[str, Any], tmp_path: Path) -> None:
    how = {"epochs": 6, "batch_size": 8, "learning_rate": 2e-2, "precision": "fp32", "seed": 1}
    run, records = tiny_run(tmp_path, method=method, training=how)
    assert [record["passed"] for record in records if record["event"] == "self-check"] == [True]
    assert not run.model_folder.exists()
    losses = [record["loss"] for record in records if record["event"] == "step"]
    assert losses[-1] < losses[0]
    again = Run.open(run.folder)
    assert again.predict(["w1 w1"], device="cpu")[0]["label"] in ("good", "neutral", "poor")
    if "text" in method:
        assert again.recipe.method.model_dump()["tokens"][:2] == (5, 6)
    if method["kind"] == "prompt":
        assert again.recipe.method.model_dump()["place"] == "after-first"


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
@pytest.mark.parametrize("task", ["text-classification", "causal-lm", "seq2seq"])
def test_a_plan_is_made_of_it(kind: str, task: str, tmp_path: Path) -> None:
    sizes = []
    for method in (kind, "full"):
        with ready(planned(tmp_path, task, 16, f"method={method}")) as made:
            sizes.append(training(made).parts["optimizer"])
    assert 0 < sizes[0] < sizes[1] / 2


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
@pytest.mark.parametrize("method", [Prefix(length=2), Prompt(length=2)], ids=["prefix", "prompt"])
def test_nothing_of_it_is_taken_to_be_frozen(method: Any, family: str) -> None:
    model = tiny(family, head="lm")
    model.config.use_cache = False
    method.apply(model, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NotServed):
        find(model, lambda: model(**inputs(model, tokens())))


def test_rows_are_not_packed_under_a_prompt_and_leave_it_room(tmp_path: Path) -> None:
    subject = planned(tmp_path, "causal-lm", 16, "method=prompt", "training.device=cuda", family="gpt2")
    with ready(subject) as made:
        recipe, rows = made.recipe, subject.rows
        automatic = rows.task.model_copy(update={"packing": "auto", "max_length": "auto"})
        fresh = tiny("gpt2", head="lm")
        resolved = make_ready(recipe, replace(rows, task=automatic), fresh, subject.processor)
    assert resolved.task.model_dump()["packing"] is False
    assert resolved.task.model_dump()["max_length"] == 128 - 20
