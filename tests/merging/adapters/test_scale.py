"""Adapters are scaled, negated, and put together as a + b - c."""

from pathlib import Path

import peft
import pytest
import torch

from luthier.adapters import attach
from luthier.errors import MergeError
from luthier.merging.adapters.adapted import Adapted
from luthier.merging.adapters.combine import Combination, combine
from luthier.merging.adapters.lora_files import read_lora
from luthier.merging.adapters.scale import scale
from luthier.merging.adapters.truncate import Keep
from tests.merging.adapters.loras import FAMILIES, answers, base, lora, many, of_peft, saved
from tests.tiny import tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's own: about Conv1D, saved embeddings


@pytest.mark.parametrize("factor", [0.5, -2.0, 3.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_scaled_adapter_answers_as_pefts_with_its_scaling_changed(family: str, factor: float, tmp_path: Path) -> None:
    given = lora(family, tmp_path / "given", 1, use_rslora=True)
    scale(given, tmp_path / "out", factor=factor)
    theirs = peft.PeftModel.from_pretrained(base(family), given)
    for module in theirs.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.scaling["default"] *= factor
    assert torch.allclose(of_peft(family, tmp_path / "out"), answers(theirs), rtol=0, atol=1e-5)
    ours = base(family)
    attach(ours, tmp_path / "out")
    assert torch.allclose(answers(ours), answers(theirs), rtol=0, atol=1e-5)


def test_scaling_changes_alpha_and_no_number_of_the_factors(tmp_path: Path) -> None:
    given = lora("llama", tmp_path / "given", 1)
    scale(given, tmp_path / "out", factor=0.5)
    before, after = (read_lora(folder).layers for folder in (given, tmp_path / "out"))
    for name, factors in before.items():
        assert torch.equal(after[name].A, factors.A)
        assert torch.equal(after[name].B, factors.B)
        assert after[name].scale == 0.5 * factors.scale


def test_an_adapter_and_its_opposite_leave_the_base(tmp_path: Path) -> None:
    given = lora("gpt2", tmp_path / "given", 1)
    scale(given, tmp_path / "opposite", factor=-1.0)
    plain = saved(base("gpt2"), tmp_path / "base")
    both = Adapted(Adapted(plain, given), tmp_path / "opposite")
    for name in plain.specs:
        assert torch.allclose(both.read(name), plain.read(name), rtol=0, atol=1e-6)


def test_times_nothing_is_the_base(tmp_path: Path) -> None:
    scale(lora("llama", tmp_path / "given", 1), tmp_path / "out", factor=0.0)
    assert torch.equal(of_peft("llama", tmp_path / "out"), answers(base("llama")))


def test_a_head_is_not_scaled_and_that_is_told(tmp_path: Path) -> None:
    given = lora("bert", tmp_path / "given", 1, of=tiny("bert"), task_type="SEQ_CLS")
    report = scale(given, tmp_path / "out", factor=-1.0)
    assert torch.equal(*(read_lora(f).whole["classifier.weight"] for f in (given, tmp_path / "out")))
    assert report.notes == ("what the adapter holds whole is not scaled",)


def test_an_analogy_is_a_and_b_without_c(tmp_path: Path) -> None:
    a, b, c = many("llama", tmp_path)
    weights = (1.0, 1.0, -1.0)
    combine([a, b, c], tmp_path / "out", combination=Combination(weights=weights))
    keep = Keep(rank=12)  # all that three of rank 4 have
    combine([a, b, c], tmp_path / "low", combination=Combination("svd", weights=weights, keep=keep))
    parts = [read_lora(folder).layers for folder in (a, b, c)]
    for folder in ("out", "low"):
        for name, factors in read_lora(tmp_path / folder).layers.items():
            expected = parts[0][name].rows() + parts[1][name].rows() - parts[2][name].rows()
            assert torch.allclose(factors.rows(), expected, rtol=0, atol=1e-6)


def test_no_number_and_a_folder_that_is_there_are_refused(tmp_path: Path) -> None:
    given = lora("llama", tmp_path / "given", 1)
    with pytest.raises(MergeError, match="finite"):
        scale(given, tmp_path / "out", factor=float("inf"))
    with pytest.raises(MergeError, match="already"):
        scale(given, given, factor=-1.0)
    before = read_lora(given).layers
    scale(given, given, factor=-1.0, overwrite=True)
    for name, factors in read_lora(given).layers.items():
        assert torch.equal(factors.rows(), -before[name].rows())
