"""SmolLM2-135M and three children that learnt a little: merged as mergekit's command merges them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from luthier.merging.making import How, make
from luthier.merging.methods import Tensors
from luthier.merging.methods._draws import generators, uniform
from luthier.merging.recipes.reading import read

pytestmark = pytest.mark.real
SMOLLM2 = Path("build/models/smollm2")
CHILDREN = ("a", "b", "c")
TEXTS = {
    "a": "The central bank raised its rate, and shares of lenders fell as traders weighed the cost of credit. ",
    "b": "def merge(left, right):\n    while left and right:\n        yield min(left, right, key=first).pop()\n",
    "c": "Der Zug nach Hamburg fährt heute von Gleis sieben, und die Reisenden warten geduldig im Regen. ",
}
STEPS, LENGTH = 3, 64
WEIGHTS = {"a": 0.5, "b": 0.3, "c": 0.2}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "linear": ({"weight": WEIGHTS}, {}),
    "task_arithmetic": ({"weight": WEIGHTS}, {"lambda": 0.9}),
    "ties": ({"weight": WEIGHTS, "density": 0.3}, {}),
    "dare_ties": ({"weight": WEIGHTS, "density": 0.5}, {}),
    "model_stock": ({}, {}),
    "slerp": ({}, {"t": 0.4}),
}
"""Settings of each model, and of all."""
ROUNDING = 2**-7
"""One step of bf16."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    if not list(SMOLLM2.glob("*.gguf")):
        pytest.skip("make models fetches SmolLM2")
    folder = tmp_path_factory.mktemp("smollm2")
    file = next(SMOLLM2.glob("*.gguf")).name
    tokenizer = AutoTokenizer.from_pretrained(SMOLLM2, gguf_file=file)
    made, plain = {"base": folder / "base"}, {"quantization_config": GgufConfig(dequantize=True)}
    for name in ("base", *CHILDREN):
        model = AutoModelForCausalLM.from_pretrained(SMOLLM2, dtype=torch.float32, gguf_file=file, **plain)
        if name != "base":
            learn(model, tokenizer(TEXTS[name] * 4, return_tensors="pt")["input_ids"][:, :LENGTH])
        made[name] = folder / name
        model.to(torch.bfloat16).save_pretrained(made[name])
        tokenizer.save_pretrained(made[name])
    return made


def learn(model: Any, tokens: torch.Tensor) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
    for _ in range(STEPS):
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def recipe(kind: str, models: dict[str, Path], folder: Path) -> Path:
    own, shared = KINDS[kind]
    names = ("base", "a") if kind == "slerp" else CHILDREN
    listed = []
    for name in names:
        settings = {key: value[name] if isinstance(value, dict) else value for key, value in own.items()}
        listed.append({"model": str(models[name]), **({"parameters": settings} if settings else {})})
    made = {"merge_method": kind, "models": listed, "dtype": "float32", "out_dtype": "bfloat16"}
    made |= {} if kind == "linear" else {"base_model": str(models["base"])}
    made |= {"parameters": shared} if shared else {}
    path = folder / f"{kind}.yaml"
    path.write_text(yaml.safe_dump(made))
    return path


@pytest.fixture
def same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """mergekit draws what Luthier draws: its Bernoulli numbers are ours, by tensor and model."""
    from mergekit.merge_methods.generalized_task_arithmetic import GeneralizedTaskArithmeticMerge

    waiting: Iterator[Any] = iter(())
    merge_group = GeneralizedTaskArithmeticMerge.merge_group

    def named(self: Any, group: Any, /, **parameters: Any) -> torch.Tensor:
        nonlocal waiting
        labels = tuple(Path(str(entry.id)).name for entry in group.non_base)
        waiting = iter(generators(0, _Named(group.metadata.name, labels)))
        return merge_group(self, group, **parameters)

    def bernoulli(shares: torch.Tensor) -> torch.Tensor:
        rows = shares.reshape(1 if shares.dim() < 2 else shares.shape[0], -1)
        return (uniform(next(waiting), rows) < rows).to(shares.dtype).reshape(shares.shape)

    monkeypatch.setattr(GeneralizedTaskArithmeticMerge, "merge_group", named)
    monkeypatch.setattr(torch, "bernoulli", bernoulli)


class _Named(Tensors):
    def __init__(self, name: str, labels: tuple[str, ...]) -> None:
        self._name, self._labels = name, labels

    @property
    def name(self) -> str:
        return self._name

    @property
    def labels(self) -> tuple[str, ...]:
        return self._labels


@pytest.mark.parametrize("kind", KINDS)
def test_a_merge_is_as_mergekit_makes_it(models: dict[str, Path], tmp_path: Path, kind: str, same_draws: None) -> None:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    path = recipe(kind, models, tmp_path)
    list(make(read(path), tmp_path / "ours", How()))
    asked = MergeConfiguration.model_validate(yaml.safe_load(path.read_text()))
    run_merge(asked, str(tmp_path / "theirs"), MergeOptions(write_model_card=False, quiet=True))
    ours = load_file(tmp_path / "ours" / "model.safetensors")
    theirs = {
        name: each for file in (tmp_path / "theirs").glob("*.safetensors") for name, each in load_file(file).items()
    }
    assert ours.keys() == theirs.keys() - ({"lm_head.weight"} - ours.keys())
    num_at_ties = 0
    for name, tensor in ours.items():
        mine, other = tensor.float(), theirs[name].float()
        differs = (mine - other).abs() > ROUNDING * torch.maximum(mine.abs(), other.abs()) + 1e-7
        if kind == "ties":
            at_a_tie = undecided(models, name)
            num_at_ties += int((differs & at_a_tie).sum())
            differs &= ~at_a_tie
        assert not differs.any(), name
    print(f"{kind}: {num_at_ties:,} elements differ, where nothing decides")


def undecided(models: dict[str, Path], name: str) -> torch.Tensor:
    """Elements that TIES' formulas leave open, as bf16's changes are coarse: one child's change is exactly as large as
    the smallest that is kept, or the votes for both signs weigh the same."""
    base, found = one_tensor(models["base"], name), torch.zeros(())
    votes, heard = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for child in CHILDREN:
        change = one_tensor(models[child], name) - base
        place = change.numel() - max(1, int(KINDS["ties"][0]["density"] * change.numel()))
        level = float(np.partition(change.abs().flatten().numpy(), place)[place])
        found = found + (change.abs() == level)
        vote = WEIGHTS[child] * (change * (change.abs() > level)).double()
        votes, heard = votes + vote, heard + vote.abs()
    return (found > 0) | (votes.abs() <= 1e-6 * heard)


def one_tensor(folder: Path, name: str) -> torch.Tensor:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return file.get_tensor(name).float()
