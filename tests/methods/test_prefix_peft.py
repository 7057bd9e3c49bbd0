"""A prefix and PEFT's prefix-tuning read each other's folders, and give the same logits."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from luthier.errors import MethodError
from luthier.methods._parts import parts_of
from luthier.methods._prefix import Prefix as Part
from luthier.methods.prefix import Prefix
from tests.methods.before_rows import LENGTH, learnt, logits, made_by_peft, read_from
from tests.tiny import tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's own
CASES = [
    ("bert", "sequence-classification", "SEQ_CLS"),
    ("bert", "token-classification", "TOKEN_CLS"),
    ("electra", "sequence-classification", "SEQ_CLS"),
    ("roberta", "token-classification", "TOKEN_CLS"),
    ("gpt2", "sequence-classification", "SEQ_CLS"),
    ("gpt2", "lm", "CAUSAL_LM"),
    ("llama", "sequence-classification", "SEQ_CLS"),
    ("llama", "lm", "CAUSAL_LM"),
    ("qwen2", "lm", "CAUSAL_LM"),
    ("opt", "lm", "CAUSAL_LM"),
    ("t5", "lm", "SEQ_2_SEQ_LM"),
]
cases = pytest.mark.parametrize(("family", "head", "task"), CASES, ids=["-".join(case[:2]) for case in CASES])


@cases
def test_we_read_what_peft_wrote(family: str, head: str, task: str, tmp_path: Path) -> None:
    theirs = made_by_peft(peft.PrefixTuningConfig, family, head, task, tmp_path)
    method = Prefix.read(tmp_path)
    assert (method.length, method.positions) == (LENGTH, "shifted")
    ours = read_from(tmp_path, method, family, head)
    torch.testing.assert_close(logits(ours), theirs, rtol=0, atol=1e-5)
    assert not torch.allclose(theirs, logits(tiny(family, head=head)), atol=1e-2)


@cases
def test_peft_reads_what_we_wrote_with_shifted_positions(family: str, head: str, task: str, tmp_path: Path) -> None:
    # With an even number of layers PEFT's T5 gives two of them the same prefix.
    odd = {"num_layers": 3} if family == "t5" else {}
    method = Prefix(length=LENGTH, positions="shifted", units="decoder" if family == "t5" else "all")
    ours = learnt(family, head, method, **odd)
    method.save(ours, tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny(family, head=head, **odd), tmp_path)
    torch.testing.assert_close(logits(theirs, ours), logits(ours), rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5"])
def test_own_positions_are_others_than_pefts_and_come_back_from_the_file(family: str, tmp_path: Path) -> None:
    method, head = Prefix(length=LENGTH, dropout=0.1), "token-classification"
    odd: dict[str, Any] = {}
    if family == "t5":
        method, head, odd = method.model_copy(update={"units": "decoder"}), "lm", {"num_layers": 3}
    ours = learnt(family, head, method, **odd)
    method.save(ours, tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny(family, head=head, **odd), tmp_path)
    assert not torch.allclose(logits(theirs, ours), logits(ours), atol=1e-4)
    assert Prefix.read(tmp_path) == method
    again = tiny(family, head=head, **odd)
    Prefix.read(tmp_path).apply(again, generator=torch.Generator())
    Prefix.read(tmp_path).load(again, tmp_path)
    assert torch.equal(logits(again), logits(ours))


def test_pefts_network_is_read_as_what_it_made(tmp_path: Path) -> None:
    theirs = made_by_peft(
        peft.PrefixTuningConfig, "bert", "sequence-classification", "SEQ_CLS", tmp_path, prefix_projection=True
    )
    method, ours = Prefix.read(tmp_path), tiny("bert")
    method.apply(ours, generator=torch.Generator())
    method.load(ours, tmp_path)
    torch.testing.assert_close(logits(ours), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "head", "settings"),
    [
        ("t5", "lm", {}),  # three kinds of units
        ("t5", "lm", {"units": "decoder"}),  # four layers, of which PEFT would make two alike
        ("t5", "sequence-classification", {"units": "decoder"}),
        ("bart", "lm", {}),
        ("bert", "lm", {}),  # PEFT knows no masked language model
        ("albert", "sequence-classification", {}),  # one unit, run four times
    ],
)
def test_what_peft_cannot_say_is_written_under_another_name_and_read(
    family: str, head: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    method = Prefix.model_validate({"length": LENGTH, **settings})
    ours = learnt(family, head, method)
    method.save(ours, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "LUTHIER_PREFIX"
    again = tiny(family, head=head)
    assert Prefix.read(tmp_path) == method
    method.apply(again, generator=torch.Generator())
    method.load(again, tmp_path)
    for (_, one), (_, other) in zip(parts_of(ours, Part), parts_of(again, Part), strict=True):
        assert torch.equal(one.key, other.key)
        assert torch.equal(one.value, other.value)


def test_what_peft_wrote_for_a_t5_is_written_for_peft_again(tmp_path: Path) -> None:
    theirs = made_by_peft(peft.PrefixTuningConfig, "t5", "lm", "SEQ_2_SEQ_LM", tmp_path)
    method, ours = Prefix.read(tmp_path), tiny("t5", head="lm")
    assert method.units == "decoder"
    method.apply(ours, generator=torch.Generator())
    method.load(ours, tmp_path)
    method.save(ours, tmp_path / "again")
    again = peft.PeftModel.from_pretrained(tiny("t5", head="lm"), tmp_path / "again")
    torch.testing.assert_close(logits(again, ours), theirs, rtol=0, atol=1e-5)


def test_another_method_of_peft_is_refused_by_name(tmp_path: Path) -> None:
    config = peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=LENGTH)
    peft.get_peft_model(tiny("bert"), config).save_pretrained(tmp_path)
    with pytest.raises(MethodError, match="peft_type PROMPT_TUNING cannot be read"):
        Prefix.read(tmp_path)


def test_another_length_is_refused(tmp_path: Path) -> None:
    method = Prefix(length=LENGTH)
    head = "token-classification"
    method.save(learnt("bert", head, method), tmp_path)
    with pytest.raises(MethodError, match=r"prompt_embeddings has shape \(5, 256\), but this model needs \(6, 256\)"):
        Prefix(length=6).load(learnt("bert", head, Prefix(length=6)), tmp_path)
