"""An adapter's folder tells what it is of, and hangs on a plain model, whoever wrote it."""

import json
from pathlib import Path

import peft
import pytest
import torch

import luthier
from luthier.errors import MethodError
from luthier.methods import ABOUT_FILE, Method
from luthier.methods.lora import Lora
from luthier.methods.partial import Partial
from luthier.methods.prefix import Prefix
from luthier.methods.prompt import Prompt
from tests.contracts.kinds import kind_of
from tests.methods.test_lora_peft import logits, shake
from tests.runs import tiny_run
from tests.tiny import classification, model_for, tokenizer

TASK = classification()


@pytest.mark.slow
def test_a_runs_adapter_names_its_base_and_holds_none_of_it(tmp_path: Path) -> None:
    run, _ = tiny_run(tmp_path, method={"kind": "lora", "rank": 2})
    about = json.loads((run.adapter_folder / ABOUT_FILE).read_text())
    assert about["method"]["kind"] == "lora"
    assert about["method"]["rank"] == 2
    made_with = json.loads((run.folder / "environment.json").read_text())
    assert about["base"] == {"name": "base", "sha256": made_with["model_sha256"]}
    size = sum(file.stat().st_size for file in run.adapter_folder.glob("*.safetensors"))
    assert size < 0.3 * (tmp_path / "base" / "model.safetensors").stat().st_size


WRITTEN = [Lora(rank=2, targets=("attention",)), Partial(train=("head", "last-1")), Prefix(length=2), Prompt(length=2)]


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize("method", WRITTEN, ids=kind_of)
def test_what_we_wrote_hangs_on_a_plain_model(method: Method, told: bool, tmp_path: Path) -> None:
    ours = model_for(TASK)
    method.apply(ours, generator=torch.Generator().manual_seed(0))
    shake(ours)
    method.save(ours, tmp_path)
    if told:  # as a run does
        method.tell(tmp_path, "base")
    plain = model_for(TASK)
    found = luthier.attach(plain, tmp_path)
    assert found == method or not told  # PEFT's files name layers in full
    assert torch.equal(logits(plain), logits(ours))


@pytest.mark.filterwarnings("ignore")
def test_what_peft_wrote_hangs_on_a_plain_model(tmp_path: Path) -> None:
    theirs = peft.get_peft_model(model_for(TASK), peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"]))
    shake(theirs)
    theirs.save_pretrained(tmp_path)
    plain = model_for(TASK)
    method = luthier.attach(plain, tmp_path)
    torch.testing.assert_close(logits(plain), logits(theirs), rtol=0, atol=1e-5)
    method.fold(plain)
    torch.testing.assert_close(logits(plain), logits(theirs), rtol=0, atol=1e-5)


def test_what_is_no_adapter_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match="holds no adapter"):
        luthier.attach(model_for(TASK), tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "VERA"}')
    with pytest.raises(MethodError, match="no method is called vera"):
        luthier.attach(model_for(TASK), tmp_path)


def test_new_tokens_need_the_tokenizer_and_get_into_it(tmp_path: Path) -> None:
    method, ours, words = Lora(rank=2, add_tokens=("<new>",)), model_for(TASK), tokenizer()
    method.extend(ours, words)
    method.apply(ours, generator=torch.Generator().manual_seed(0))
    shake(ours)
    method.save(ours, tmp_path)
    method.tell(tmp_path, "base")
    with pytest.raises(MethodError, match="processor="):
        luthier.attach(model_for(TASK), tmp_path)
    plain, fresh = model_for(TASK), tokenizer()
    luthier.attach(plain, tmp_path, processor=fresh)
    assert len(fresh) == len(words)
    assert torch.equal(logits(plain), logits(ours))
