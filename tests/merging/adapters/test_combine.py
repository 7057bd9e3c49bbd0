"""Several LoRAs become one: exactly, cut back, or as PEFT's add_weighted_adapter has it."""

import dataclasses
from pathlib import Path

import peft
import pytest
import torch
from torch import Tensor

from luthier.adapters import attach
from luthier.errors import MergeError
from luthier.merging.adapters.combine import Combination, combine, combined_adapter
from luthier.merging.adapters.lora_files import Adapter, Factors, read_lora, write_lora
from luthier.merging.adapters.truncate import Keep
from tests.merging.adapters.loras import FAMILIES, answers, base, lora, many, of_peft, products
from tests.tiny import tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's own: about Conv1D, saved embeddings
families = pytest.mark.parametrize("family", FAMILIES)
WEIGHTS = (0.5, 1.25, -0.75)


def rows_of(folder: Path) -> dict[str, Tensor]:
    return {name: factors.rows() for name, factors in read_lora(folder).layers.items()}


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor], atol: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], rtol=0, atol=atol), name
        assert tensor.abs().max() > 10 * atol


def weighted_sum(folders: list[Path], weights: tuple[float, ...]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for folder, weight in zip(folders, weights, strict=True):
        for name, factors in read_lora(folder).layers.items():
            added = weight * factors.scale * (factors.B.double() @ factors.A.double())
            found[name] = found[name] + added if name in found else added
    return {name: tensor.float() for name, tensor in found.items()}


@families
def test_a_concatenation_is_the_sum_of_the_products_and_loads_in_peft_and_here(family: str, tmp_path: Path) -> None:
    folders = [
        lora(family, tmp_path / "a", 1),
        lora(family, tmp_path / "b", 2, r=3, use_rslora=True),
        lora(family, tmp_path / "c", 3, r=6, rank_pattern={"c_attn|query|q_proj": 2}, lora_alpha=5),
    ]
    report = combine(folders, tmp_path / "out", combination=Combination(weights=WEIGHTS))
    assert_equal(rows_of(tmp_path / "out"), weighted_sum(folders, WEIGHTS), 1e-6)
    assert report.ranks == (9, 13)
    assert report.energy == 1.0
    merged = peft.PeftModel.from_pretrained(base(family), tmp_path / "out").merge_and_unload()
    plain = base(family).state_dict()
    for name, added in weighted_sum(folders, WEIGHTS).items():
        weight = merged.get_submodule(name).weight - plain[f"{name}.weight"]
        assert torch.allclose(weight.T if family == "gpt2" else weight, added, rtol=0, atol=1e-6)
    model = base(family)
    attach(model, tmp_path / "out")
    assert torch.allclose(answers(model), of_peft(family, tmp_path / "out"), rtol=0, atol=1e-5)


def test_adapters_of_different_layers_are_put_beside_each_other(tmp_path: Path) -> None:
    folders = [
        lora("llama", tmp_path / "a", 1, target_modules=["q_proj"]),
        lora("llama", tmp_path / "b", 2, target_modules=["v_proj", "q_proj"]),
    ]
    combine(folders, tmp_path / "out")
    assert_equal(rows_of(tmp_path / "out"), weighted_sum(folders, (1.0, 1.0)), 1e-6)
    assert {factors.rank for factors in read_lora(tmp_path / "out").layers.values()} == {4, 8}


@families
def test_svd_gives_pefts_products(family: str, tmp_path: Path) -> None:
    folders = many(family, tmp_path)
    how = Combination("svd", weights=WEIGHTS, keep=Keep(rank=5))
    report = combine(folders, tmp_path / "out", combination=how)
    theirs = products(family, folders, "svd", list(WEIGHTS), svd_rank=5)
    assert_equal(rows_of(tmp_path / "out"), theirs, 1e-5)
    whole = weighted_sum(folders, WEIGHTS)
    for layer in report.layers:
        share = float(theirs[layer.name].square().sum() / whole[layer.name].square().sum())
        assert layer.rank == 5
        assert layer.energy == pytest.approx(share, abs=1e-5)
    kept, total = (sum(float(t.square().sum()) for t in each.values()) for each in (theirs, whole))
    assert report.energy == pytest.approx(kept / total, abs=1e-5)
    assert 0.3 < report.energy < 0.99
    assert f"{report.energy:.2%} of the energy kept" in next(report.lines())


def test_the_smallest_rank_that_holds_a_share_of_the_energy_is_taken(tmp_path: Path) -> None:
    folders = many("llama", tmp_path)
    report = combine(folders, tmp_path / "out", combination=Combination("svd", keep=Keep(energy=0.9)))
    whole = weighted_sum(folders, (1.0, 1.0, 1.0))
    for layer in report.layers:
        held = torch.linalg.svdvals(whole[layer.name]).square().cumsum(0) / whole[layer.name].square().sum()
        assert layer.rank == int((held < 0.9).sum()) + 1
    combine(folders, tmp_path / "all", combination=Combination("svd", keep=Keep(energy=1.0)))
    assert_equal(rows_of(tmp_path / "all"), whole, 1e-6)


def test_energy_is_told_only_where_something_is_cut(tmp_path: Path) -> None:
    folders = many("llama", tmp_path, 2)
    told = {"ties": True, "linear": True, "concatenate": False, "svd": True}
    for kind, is_cut in told.items():
        report = combine(folders, tmp_path / kind, combination=Combination(kind))
        assert ("energy" in next(report.lines())) is is_cut
    report = combine(folders, tmp_path / "factors", combination=Combination("linear", on="factors"))
    assert next(report.lines()) == "linear on the factors: 12 layers, rank 4"


def test_tables_of_words_are_merged_as_peft_merges_them(tmp_path: Path) -> None:
    folders = many("bert", tmp_path, 2, target_modules=["word_embeddings", "query"])
    for kind, theirs in (("concatenate", "cat"), ("svd", "svd")):
        combine(folders, tmp_path / kind, combination=Combination(kind, weights=(0.5, 2.0)))
        assert_equal(rows_of(tmp_path / kind), products("bert", folders, theirs, [0.5, 2.0]), 1e-5)
        assert read_lora(tmp_path / kind).layers["embeddings.word_embeddings"].is_embedding


FACTORS = {
    "linear": ("linear", {}),
    "ties": ("ties", {"density": 0.4}),
    "magnitude-prune": ("magnitude_prune", {"density": 0.4}),
    "dare-linear": ("dare_linear", {"density": 1.0}),  # whatever the draws, nothing is dropped
    "dare-ties": ("dare_ties", {"density": 1.0}),
}


@pytest.mark.parametrize("kind", FACTORS)
@families
def test_factors_are_merged_as_peft_merges_them(family: str, kind: str, tmp_path: Path) -> None:
    folders = many(family, tmp_path, alpha_pattern={"c_attn|query|q_proj": 11})
    theirs, said = FACTORS[kind]
    combine(folders, tmp_path / "out", combination=Combination(kind, WEIGHTS, on="factors", settings=said))
    assert_equal(rows_of(tmp_path / "out"), products(family, folders, theirs, list(WEIGHTS), **said), 1e-5)
    assert {factors.rank for factors in read_lora(tmp_path / "out").layers.values()} == {4}


@pytest.mark.parametrize("kind", FACTORS)
@families
def test_products_are_merged_as_peft_merges_them(family: str, kind: str, tmp_path: Path) -> None:
    folders = many(family, tmp_path)
    theirs, said = FACTORS[kind]
    style = {"style": "peft"} if kind in ("ties", "dare-linear", "dare-ties") else {}
    how = Combination(kind, WEIGHTS, keep=Keep(rank=16), settings={**said, **style})
    combine(folders, tmp_path / "out", combination=how)
    combined_as = "svd" if kind == "linear" else f"{theirs}_svd"
    assert_equal(
        rows_of(tmp_path / "out"), products(family, folders, combined_as, list(WEIGHTS), svd_rank=16, **said), 1e-5
    )


def test_layers_that_only_some_adapters_have_are_merged_as_peft_merges_them(tmp_path: Path) -> None:
    folders = [
        lora("llama", tmp_path / "a", 1, target_modules=["q_proj"]),
        lora("llama", tmp_path / "b", 2, target_modules=["v_proj", "q_proj"]),
    ]
    how = Combination("ties", (0.5, 2.0), on="factors", settings={"density": 0.5})
    combine(folders, tmp_path / "out", combination=how)
    assert_equal(rows_of(tmp_path / "out"), products("llama", folders, "ties", [0.5, 2.0], density=0.5), 1e-5)


def test_chance_depends_on_seed_layer_and_adapter_and_not_on_their_order(tmp_path: Path) -> None:
    folders = many("llama", tmp_path, 2)

    def made(name: str, order: list[Path], weights: tuple[float, ...], seed: int) -> dict[str, Tensor]:
        how = Combination("dare-linear", weights, keep=Keep(rank=32), settings={"density": 0.5, "seed": seed})
        combine(order, tmp_path / name, combination=how)
        return rows_of(tmp_path / name)

    first = made("first", folders, (0.5, 2.0), 1)
    assert_equal(made("turned", folders[::-1], (2.0, 0.5), 1), first, 1e-5)
    other = made("other", folders, (0.5, 2.0), 2)
    assert all(not torch.allclose(other[name], first[name], atol=1e-3) for name in first)


def test_the_papers_ties_trims_the_adapters_as_wholes(tmp_path: Path) -> None:
    """By hand: of 4 + 4 weights the largest 4 of each adapter stay, all in the layer with the large ones."""
    large, small = torch.tensor([[4.0, -3.0], [2.0, 1.0]]), torch.tensor([[0.4, 0.3], [-0.2, 0.1]])
    layers = {"large": Factors(large, torch.eye(2)), "small": Factors(small, torch.eye(2))}
    adapters = [Adapter("a", layers), Adapter("b", layers)]
    how = Combination("ties", keep=Keep(rank=2), settings={"density": 0.49})
    made, _ = combined_adapter(adapters, how)
    assert torch.allclose(made.layers["large"].rows(), large, atol=1e-6)
    assert not made.layers["small"].rows().any()


def test_a_head_that_one_adapter_has_is_kept_and_two_that_differ_are_refused(tmp_path: Path) -> None:
    plain = lora("bert", tmp_path / "plain", 1, of=tiny("bert"))
    one = lora("bert", tmp_path / "one", 2, of=tiny("bert"), task_type="SEQ_CLS")
    two = lora("bert", tmp_path / "two", 3, of=tiny("bert"), task_type="SEQ_CLS")
    report = combine([plain, one], tmp_path / "out")
    assert report.num_whole == 2
    head = read_lora(tmp_path / "out").whole["classifier.weight"]
    assert torch.equal(head, read_lora(one).whole["classifier.weight"])
    model = tiny("bert")
    attach(model, tmp_path / "out")
    theirs = peft.PeftModel.from_pretrained(tiny("bert"), tmp_path / "out")
    assert torch.allclose(answers(model), answers(theirs), rtol=0, atol=1e-5)
    with pytest.raises(MergeError, match=r"one and two: both hold classifier\.\w+ as a whole"):
        combine([one, two], tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_biases_that_differ_are_refused(tmp_path: Path) -> None:
    folders = many("bert", tmp_path, 2, bias="lora_only")
    with pytest.raises(MergeError, match=r"\.bias as a whole, with different values"):
        combine(folders, tmp_path / "out")


def test_what_does_not_fit_together_is_refused_by_name(tmp_path: Path) -> None:
    a, b = many("llama", tmp_path, 2)
    other = lora("llama", tmp_path / "other", 1, of=base("llama", hidden_size=16))
    higher = lora("llama", tmp_path / "higher", 1, r=5)
    cases: list[tuple[list[Path], Combination, str]] = [
        ([a, other], Combination(), "updates of shapes"),
        ([a, higher], Combination("linear", on="factors"), "rank 5"),
        ([a, a], Combination(), "given twice"),
        ([a, b], Combination(weights=(1.0, 1.0, 1.0)), "3 numbers for 2 adapters"),
        ([a, b], Combination(weights=(1.0, float("nan"))), "finite"),
        ([a, b], Combination("tise"), "tise"),
        ([a, b], Combination("ties", settings={"densty": 0.1}), "densty"),
        ([a, b], Combination("slerp", on="factors"), "slerp"),
    ]
    for folders, how, named in cases:
        with pytest.raises(MergeError, match=named):
            combine(folders, tmp_path / "out", combination=how)
    assert not (tmp_path / "out").exists()


def test_adapters_of_bases_with_other_fingerprints_are_refused_and_other_names_are_told(tmp_path: Path) -> None:
    a, b = (read_lora(folder) for folder in many("llama", tmp_path, 2))

    def of(adapter: Adapter, name: str, sha256: str | None) -> Path:
        settings = {**adapter.settings, "base_model_name_or_path": name}
        folder = tmp_path / f"{name}{sha256}"
        write_lora(dataclasses.replace(adapter, base={"name": name, "sha256": sha256}, settings=settings), folder)
        return folder

    with pytest.raises(MergeError, match="different bases"):
        combine([of(a, "x", "01"), of(b, "y", "02")], tmp_path / "out")
    assert "x, z" in "".join(combine([of(a, "x", "03"), of(b, "z", None)], tmp_path / "out").notes)
    assert not combine([of(a, "x", "04"), of(b, "z", "04")], tmp_path / "same").notes


def test_a_folder_that_is_there_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(MergeError, match="already"):
        combine([tmp_path / "not there"], tmp_path / "out")


def test_16_bit_adapters_are_added_in_fp32(tmp_path: Path) -> None:
    adapter = read_lora(many("llama", tmp_path, 1)[0])
    layers = {name: Factors(each.A.bfloat16(), each.B.bfloat16(), each.scale) for name, each in adapter.layers.items()}
    made, _ = combined_adapter([dataclasses.replace(adapter, layers=layers)], Combination())
    for name, factors in made.layers.items():
        exact = layers[name].scale * (layers[name].B.double() @ layers[name].A.double())
        assert torch.allclose(factors.rows().double(), exact, atol=1e-6)
