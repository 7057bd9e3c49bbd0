"""A LoRA is merged into its base by the engine that merges models: the model `base+adapter`, passed through."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from luthier.merging.adapters.lora_files import read_lora
from luthier.merging.making import How, make
from luthier.merging.parents.checkpoint import Folder
from luthier.merging.recipes.reading import from_options
from tests.merging.adapters.loras import FAMILIES, HEADS, answers, base, lora, of_peft, saved

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's own: about Conv1D, saved embeddings
AUTO = {"base": AutoModel, "lm": AutoModelForCausalLM}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_folded_model_answers_as_the_base_with_its_adapter(family: str, tmp_path: Path) -> None:
    saved(base(family), tmp_path / "base")
    given = lora(family, tmp_path / "lora", 1, use_rslora=True)
    list(make(from_options("passthrough", [f"{tmp_path / 'base'}+{given}"]), tmp_path / "out", How(num_threads=1)))
    folded = AUTO[HEADS[family]].from_pretrained(tmp_path / "out")
    assert torch.allclose(answers(folded), of_peft(family, given), rtol=0, atol=1e-5)
    assert not torch.allclose(answers(folded), answers(base(family)), atol=1e-2)


def test_a_16_bit_model_stays_one_and_every_weight_is_rounded_once(tmp_path: Path) -> None:
    plain = saved(base("llama").bfloat16(), tmp_path / "base")
    given = lora("llama", tmp_path / "lora", 1)
    list(make(from_options("passthrough", [f"{plain.path}+{given}"]), tmp_path / "out", How(num_threads=1)))
    folded = Folder(tmp_path / "out", "out")
    assert {spec.dtype for spec in folded.specs.values()} == {torch.bfloat16}
    name = "model.layers.0.self_attn.q_proj"
    exact = plain.read(f"{name}.weight").float() + read_lora(given).layers[name].rows()
    assert torch.equal(folded.read(f"{name}.weight"), exact.bfloat16())


def test_parts_of_any_size_give_the_same_bits(tmp_path: Path) -> None:
    saved(base("llama", hidden_size=256, intermediate_size=160), tmp_path / "base")
    given = lora("llama", tmp_path / "lora", 1, of=base("llama", hidden_size=256, intermediate_size=160))
    recipe = from_options("linear", [f"{tmp_path / 'base'}+{given}", str(tmp_path / "base")])
    for name, memory in (("small", 1), ("large", 2**30)):
        list(make(recipe, tmp_path / name, How(num_threads=1, memory=memory)))
    small, large = (Folder(tmp_path / name, name) for name in ("small", "large"))
    assert all(torch.equal(small.read(name), large.read(name)) for name in large.specs)
