"""A prompt and PEFT's prompt tuning read each other's folders, and give the same logits."""

import json
from pathlib import Path

import peft
import pytest
import torch

from luthier.errors import MethodError
from luthier.methods.prompt import Prompt
from tests.methods.before_rows import LENGTH, learnt, logits, made_by_peft, read_from
from tests.tiny import tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's own
CASES = [
    ("bert", "sequence-classification", "SEQ_CLS"),
    ("bert", "token-classification", "TOKEN_CLS"),
    ("roberta", "token-classification", "TOKEN_CLS"),
    ("gpt2", "sequence-classification", "SEQ_CLS"),
    ("gpt2", "lm", "CAUSAL_LM"),
    ("llama", "sequence-classification", "SEQ_CLS"),
    ("llama", "lm", "CAUSAL_LM"),
    ("opt", "lm", "CAUSAL_LM"),
    ("bloom", "lm", "CAUSAL_LM"),
    ("t5", "lm", "SEQ_2_SEQ_LM"),
    ("bart", "lm", "SEQ_2_SEQ_LM"),
]
cases = pytest.mark.parametrize(("family", "head", "task"), CASES, ids=["-".join(case[:2]) for case in CASES])


@cases
def test_we_read_what_peft_wrote(family: str, head: str, task: str, tmp_path: Path) -> None:
    theirs = made_by_peft(peft.PromptTuningConfig, family, head, task, tmp_path)
    method = Prompt.read(tmp_path)
    assert (method.length, method.place) == (LENGTH, "before")
    ours = read_from(tmp_path, method, family, head)
    torch.testing.assert_close(logits(ours), theirs, rtol=0, atol=1e-5)
    assert not torch.allclose(theirs, logits(tiny(family, head=head)), atol=1e-3)


@cases
def test_peft_reads_what_we_wrote(family: str, head: str, task: str, tmp_path: Path) -> None:
    method = Prompt(length=LENGTH, place="before")
    ours = learnt(family, head, method)
    method.save(ours, tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny(family, head=head), tmp_path)
    torch.testing.assert_close(logits(theirs, ours), logits(ours), rtol=0, atol=1e-5)


def test_a_prompt_behind_the_first_token_is_read_by_us_and_placed_elsewhere_by_peft(tmp_path: Path) -> None:
    method = Prompt(length=LENGTH)
    ours = learnt("bert", "sequence-classification", method)
    method.save(ours, tmp_path)
    again = tiny("bert")
    read = Prompt.read(tmp_path)
    assert read.place == "after-first"
    read.apply(again, generator=torch.Generator())
    read.load(again, tmp_path)
    assert torch.equal(logits(again), logits(ours))
    theirs = peft.PeftModel.from_pretrained(tiny("bert"), tmp_path)
    assert not torch.allclose(logits(theirs, ours), logits(ours), atol=1e-4)


def test_a_head_that_peft_has_no_word_for_makes_a_folder_of_ours(tmp_path: Path) -> None:
    method = Prompt(length=LENGTH, place="before")
    method.save(learnt("bert", "lm", method), tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "LUTHIER_PROMPT"
    assert Prompt.read(tmp_path) == method


def test_another_method_or_another_length_is_refused(tmp_path: Path) -> None:
    config = peft.PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=LENGTH)
    peft.get_peft_model(tiny("bert"), config).save_pretrained(tmp_path / "prefix")
    with pytest.raises(MethodError, match="peft_type PREFIX_TUNING cannot be read"):
        Prompt.read(tmp_path / "prefix")
    method = Prompt(length=LENGTH)
    method.save(learnt("bert", "sequence-classification", method), tmp_path)
    with pytest.raises(MethodError, match=r"prompt_embeddings has shape \(5, 32\), but this model needs \(6, 32\)"):
        Prompt(length=6).load(learnt("bert", "sequence-classification", Prompt(length=6)), tmp_path)
