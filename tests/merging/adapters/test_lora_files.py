"""Folders of LoRAs are read without a model, written so that PEFT and Luthier load them, and refused by name."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.adapters import attach
from luthier.errors import MergeError
from luthier.merging.adapters.lora_files import Adapter, Factors, read_lora, write_lora
from luthier.methods.lora import Lora
from tests.merging.adapters.loras import FAMILIES, answers, base, lora, of_peft, shake
from tests.tiny import tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's own: about Conv1D, saved embeddings
families = pytest.mark.parametrize("family", FAMILIES)
PATTERNS = {
    "bert": {"rank_pattern": {"query": 2, r"layer\.1\.output\.dense": 7}, "alpha_pattern": {"value": 11}},
    "llama": {"rank_pattern": {"layers.1.self_attn.q_proj": 2}, "alpha_pattern": {"v_proj": 11, "down_proj": 1}},
    "gpt2": {"rank_pattern": {"attn.c_proj": 2}, "alpha_pattern": {"c_attn": 11}},
}


def with_setting(folder: Path, **said: Any) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    return folder


@pytest.mark.parametrize("rank_stabilized", [False, True])
@families
def test_what_is_read_and_written_again_is_the_same_adapter(family: str, rank_stabilized: bool, tmp_path: Path) -> None:
    given = lora(family, tmp_path / "given", 1, use_rslora=rank_stabilized, **PATTERNS[family])
    write_lora(read_lora(given), tmp_path / "again")
    assert torch.allclose(of_peft(family, tmp_path / "again"), of_peft(family, given), rtol=0, atol=1e-6)
    assert not torch.allclose(of_peft(family, given), answers(base(family)), atol=1e-2)
    model = base(family)
    attach(model, tmp_path / "again")
    assert torch.allclose(answers(model), of_peft(family, given), rtol=0, atol=1e-5)


@families
def test_the_products_are_what_peft_adds_to_the_weights(family: str, tmp_path: Path) -> None:
    given = lora(family, tmp_path, 1, use_rslora=True, **PATTERNS[family])
    model = peft.PeftModel.from_pretrained(base(family), given)
    layers = {n: m for n, m in model.base_model.model.named_modules() if isinstance(m, peft.tuners.lora.LoraLayer)}
    read = read_lora(given).layers
    assert read.keys() == layers.keys()
    for name, layer in layers.items():
        added = layer.get_delta_weight("default")
        ours = read[name].rows()
        assert torch.allclose(ours.T if family == "gpt2" else ours, added, atol=1e-6)


def test_rows_have_the_same_bits_whichever_are_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    factors = Factors(torch.randn(7, 50, generator=generator), torch.randn(301, 7, generator=generator), 0.3)
    whole = factors.rows()
    assert torch.allclose(whole, 0.3 * factors.B @ factors.A, atol=1e-6)
    for start, stop in ((0, 1), (3, 128), (127, 129), (130, 301), (300, 400), (5, 5)):
        assert torch.equal(factors.rows(start, stop), whole[start:stop])


def test_a_table_of_words_is_read_with_its_factors_and_without_the_bases_rows(tmp_path: Path) -> None:
    given = lora("bert", tmp_path / "given", 1, target_modules=["word_embeddings", "query"])
    read = read_lora(given)
    assert read.layers["embeddings.word_embeddings"].is_embedding
    assert not read.whole
    write_lora(read, tmp_path / "again")
    assert torch.allclose(of_peft("bert", tmp_path / "again"), of_peft("bert", given), rtol=0, atol=1e-6)


def test_our_own_folder_keeps_the_fingerprint_of_its_base(tmp_path: Path) -> None:
    model, method = base("llama"), Lora(rank=3, alpha=5.0, targets=("attention",))
    method.apply(model, generator=torch.Generator().manual_seed(0))
    shake(model, 1)
    method.save(model, tmp_path / "given")
    method.tell(tmp_path / "given", "the base", {"model.safetensors": "0123"})
    write_lora(read_lora(tmp_path / "given"), tmp_path / "again")
    assert read_lora(tmp_path / "again").base == {"name": "the base", "sha256": {"model.safetensors": "0123"}}
    other = base("llama")
    attach(other, tmp_path / "again")
    assert torch.allclose(answers(other), answers(model), rtol=0, atol=1e-5)


def test_an_adapter_is_found_in_the_folder_of_its_run(tmp_path: Path) -> None:
    lora("llama", tmp_path / "run" / "adapter", 1)
    assert read_lora(tmp_path / "run").layers


def test_what_learnt_whole_and_biases_come_along(tmp_path: Path) -> None:
    model = tiny("bert")
    given = lora("bert", tmp_path / "given", 1, of=model, task_type="SEQ_CLS", bias="all")
    read = read_lora(given)
    assert {
        "classifier.weight",
        "classifier.bias",
        "bert.encoder.layer.0.attention.self.query.bias",
    } <= read.whole.keys()
    write_lora(read, tmp_path / "again")
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (given, tmp_path / "again"))
    plain = {name for name in before if ".original_module." not in name and ".modules_to_save." not in name}
    assert after.keys() == plain
    attached = tiny("bert")
    attach(attached, tmp_path / "again")
    assert torch.equal(attached.classifier.weight, read.whole["classifier.weight"])


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"use_dora": True}, "use_dora"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
        ({"target_parameters": ["experts.gate_up"]}, "target_parameters"),
        ({"lora_bias": True}, "lora_bias"),
        ({"init_lora_weights": "olora"}, "init_lora_weights olora"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights pissa"),
        ({"r": 5}, "of rank 5"),
        ({"r": "many"}, "no rank and alpha of model"),
        ({"r": 0}, "no rank and alpha of model"),
        ({"alpha_pattern": {"(": 1}}, "no rank and alpha of model"),
    ],
)
def test_more_than_a_plain_lora_is_refused_by_name(said: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(MergeError, match=named):
        read_lora(with_setting(lora("llama", tmp_path, 1), **said))


def test_layers_chosen_by_number_are_read_as_their_tensors_say(tmp_path: Path) -> None:
    given = read_lora(lora("llama", tmp_path, 1, layers_to_transform=[1, 2], layers_pattern="layers"))
    assert {name.split(".")[2] for name in given.layers} == {"1", "2"}


def test_tensors_that_no_setting_explains_are_refused(tmp_path: Path) -> None:
    path = lora("llama", tmp_path, 1) / "adapter_model.safetensors"
    save_file(load_file(path) | {"base_model.model.model.norm.weight": torch.ones(32)}, path)
    with pytest.raises(MergeError, match=r"model\.norm\.weight is no factor"):
        read_lora(tmp_path)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = lora("llama", tmp_path, 1) / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors["base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"][3, 2] = float("nan")
    save_file(tensors, path)
    with pytest.raises(MergeError, match=r"layers\.1\.self_attn\.q_proj holds numbers that are not finite"):
        read_lora(tmp_path)


def test_a_folder_without_an_adapter_a_pickle_and_a_cut_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match=r"holds no adapter_config\.json"):
        read_lora(tmp_path)
    path = lora("llama", tmp_path, 1) / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(MergeError, match="cannot be read"):
        read_lora(tmp_path)
    path.rename(tmp_path / "adapter_model.bin")
    with pytest.raises(MergeError, match="pickle"):
        read_lora(tmp_path)


def test_a_folder_that_is_there_is_written_over_only_when_asked_and_only_an_adapters(tmp_path: Path) -> None:
    adapter = read_lora(lora("llama", tmp_path / "lora", 1))
    with pytest.raises(MergeError, match="already"):
        write_lora(adapter, tmp_path / "lora")
    write_lora(adapter, tmp_path / "lora", overwrite=True)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("words")
    with pytest.raises(MergeError, match="something else"):
        write_lora(adapter, tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "words"


def test_nothing_is_left_behind_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = read_lora(lora("llama", tmp_path / "lora", 1))

    def full(*args: object, **kwargs: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("luthier.merging.adapters.lora_files.save_file", full)
    with pytest.raises(OSError, match="No space"):
        write_lora(adapter, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["lora"]


def test_a_layer_whose_name_ends_another_has_its_own_rank_and_scale(tmp_path: Path) -> None:
    def factors(rank: int, scale: float) -> Factors:
        return Factors(torch.ones(rank, 4), torch.ones(5, rank), scale)

    layers = {"dense": factors(1, 3.0), "a.dense": factors(2, 1.0), "b.c": factors(2, 1.0), "b.d": factors(2, 0.0)}
    write_lora(Adapter("x", layers), tmp_path / "x")
    read = read_lora(tmp_path / "x").layers
    assert {name: (each.rank, each.scale) for name, each in read.items()} == {
        **{"dense": (1, 3.0), "a.dense": (2, 1.0), "b.c": (2, 1.0)},
        "b.d": (2, 1.0),
    }
    assert not read["b.d"].rows().any()
