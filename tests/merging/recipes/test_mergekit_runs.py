"""mergekit's example files, merged unchanged: the models are those that mergekit's own command makes of them."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from luthier.merging.making import How, make
from luthier.merging.recipes.reading import read
from tests.merging.models import family

EXAMPLES = sorted((Path(__file__).parent / "mergekit_examples").glob("*.yaml"))
RANDOM = ("dare_linear", "dare_ties", "della", "della_linear")
"""What they drop is drawn otherwise there."""
AT_AN_EDGE = {"arcee_fusion": 4}
"""Numbers that lie so near a threshold that rounding decides on which side."""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    made = family(folder, num_hidden_layers=4)
    torch.manual_seed(0)
    adapter = LoraConfig(r=2, init_lora_weights=False, target_modules=["q_proj", "down_proj"])
    get_peft_model(AutoModelForCausalLM.from_pretrained(made["base"]), adapter).save_pretrained(folder / "lora")
    return {**made, "lora": folder / "lora"}


def filled(path: Path, models: dict[str, Path], folder: Path) -> Path:
    """The example with the models' folders; without its types, so that all is computed and written in fp32."""
    text = re.sub(r"(?m)^(out_)?dtype: .*\n", "", path.read_text(encoding="utf-8"))
    for name, model in models.items():
        text = text.replace(f"@{name}+", f"{model}+").replace(f'@{name}"', f'{model}"')
    (folder / path.name).write_text(text, encoding="utf-8")
    return folder / path.name


def weights(folder: Path) -> dict[str, Tensor]:
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def merged(recipe: Path, folder: Path) -> tuple[dict[str, Tensor], list[Any]]:
    records = list(make(read(recipe), folder, How(num_threads=1)))
    return weights(folder), records


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_merged_as_mergekit_merges_it(path: Path, models: dict[str, Path], tmp_path: Path) -> None:
    recipe = filled(path, models, tmp_path)
    ours, records = merged(recipe, tmp_path / "ours")
    assert records[-1]["event"] == "checked"
    pytest.importorskip("mergekit")
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    config = MergeConfiguration.model_validate(yaml.safe_load(recipe.read_text(encoding="utf-8")))
    options = MergeOptions(write_model_card=False, quiet=True, random_seed=0, lora_merge_cache=str(tmp_path / "cache"))
    run_merge(config, str(tmp_path / "theirs"), options)
    theirs = weights(tmp_path / "theirs")
    assert {name: tensor.shape for name, tensor in ours.items()} == {n: tensor.shape for n, tensor in theirs.items()}
    if path.stem not in RANDOM:
        apart = {name: int(((ours[name] - theirs[name]).abs() > 1e-6).sum()) for name in ours}
        assert sum(apart.values()) <= AT_AN_EDGE.get(path.stem, 0), {name: num for name, num in apart.items() if num}


@pytest.mark.parametrize("stem", ["ties", "linear_with_base", "frankenmerge"])
def test_the_recipe_beside_a_merge_makes_it_again(stem: str, models: dict[str, Path], tmp_path: Path) -> None:
    example = next(path for path in EXAMPLES if path.stem == stem)
    first, _ = merged(filled(example, models, tmp_path), tmp_path / "first")
    again, _ = merged(tmp_path / "first" / "merge.yaml", tmp_path / "again")
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
