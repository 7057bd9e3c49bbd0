"""No file of a downloaded model chooses code, opens a pickle or leaves the body's weights to chance."""

import contextlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.errors import ModelError
from luthier.models import trust
from luthier.models.load import Ask, load_model
from luthier.models.processor import load_tokenizer
from luthier.models.source import ModelSource
from tests.tiny import FAMILIES, classification, tiny, tokenizer

AUTO = "AutoModelForSequenceClassification"
ASK = Ask.of(classification())
READ_TEXT = [family for family in FAMILIES if family not in ("marian", "whisper", "wav2vec2")]

WEIGHTS = ("pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "adapter_model.bin", "weights.ckpt")
OTHERS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", ".metadata")
TOKENIZERS = ("tokenizer.pkl", "vocab.pkl", "spiece.model", "tokenizer.model", "merges.txt", "vocab.txt")


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    tiny("bert", head="base").save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def load(folder: Path, **said: Any) -> Any:
    source = ModelSource(name=str(folder))
    return load_model(source, ASK, device="cpu", seed=0, processor=tokenizer(), **said)


def change(folder: Path, name: str = "config.json", **said: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | said))


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(folder)
    return str(caught.value)


def plant(folder: Path, mark: Path) -> None:
    """A bomb under every name, as plain pickle and as torch writes it."""
    for number, name in enumerate((*WEIGHTS, *OTHERS, *TOKENIZERS)):
        if number % 2:
            (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
        else:
            torch.save(Bomb(mark), folder / name)


def test_the_bomb_of_these_tests_goes_off(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


def test_no_pickle_is_opened_beside_safe_weights(folder: Path, tmp_path: Path) -> None:
    plant(folder, tmp_path / "mark")
    load(folder)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_only_a_pickle_are_refused_unopened(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    told = refusal(folder)
    assert name in told
    assert "only safetensors are read" in told
    assert not (tmp_path / "mark").exists()


def test_without_tokenizer_files_no_pickle_is_tried_in_their_place(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    plant(folder, tmp_path / "mark")
    with pytest.raises(ModelError, match=r"^model\.name: "):
        load_tokenizer(ModelSource(name=str(folder)))
    assert not (tmp_path / "mark").exists()


def test_a_folder_without_a_tokenizer_gets_no_empty_one(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="it has no tokenizer files that are known"):
        load_tokenizer(ModelSource(name=str(folder)))


def test_the_conversion_that_is_told_gives_a_folder_that_loads(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    command = refusal(folder).splitlines()[-1].strip()
    assert command.startswith("python -c ")
    here = command.replace("python", sys.executable, 1)
    subprocess.run(here, shell=True, check=True, capture_output=True)  # as a user would paste it
    assert torch.equal(load(folder).bert.pooler.dense.weight, weights["pooler.dense.weight"])


@pytest.mark.parametrize("leads_to", ["pytorch_model.bin", "../outside.safetensors"])
def test_an_index_that_leads_elsewhere_is_refused(folder: Path, tmp_path: Path, leads_to: str) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    index = {"metadata": {}, "weight_map": {"pooler.dense.weight": leads_to}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert leads_to in refusal(folder)
    assert not (tmp_path / "mark").exists()


def test_a_configuration_names_no_file_of_weights(folder: Path, tmp_path: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    change(folder, transformers_weights="pytorch_model.bin")
    load(folder)
    assert not (tmp_path / "mark").exists()


def test_torch_opens_no_pickle_while_a_model_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line: a way into a pickle that was overlooked is shut too. Here a tokenizer that is a model."""
    monkeypatch.setattr(trust, "require_plain_weights", lambda *_: None)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    change(folder, "tokenizer_config.json", tokenizer_class="AutoModel")
    with pytest.raises(ModelError, match="asks for a pickle, which may run code; only safetensors are read"):
        load_tokenizer(ModelSource(name=str(folder)))


HOSTILE = {
    "_attn_implementation": "org/evil-kernel",
    "attn_implementation": "org/evil-kernel",
    "_attn_implementation_internal": "org/evil-kernel",
    "_experts_implementation": "org/evil-kernel",
    "experts_implementation": "org/evil-kernel",
    "use_kernels": True,
    "kernel_config": {"kernel_mapping": {"RMSNorm": "org/evil-kernel:RMSNorm"}},
    "auto_map": {"AutoConfig": "evil.Evil", AUTO: "evil.Evil"},
    "trust_remote_code": True,
    "model_file": "evil.py",
    "custom_pipelines": {"text-classification": {"impl": "evil.Evil"}},
    "configuration_files": ["config.9.0.0.json"],
}


@pytest.mark.parametrize("key", HOSTILE)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_configuration_chooses_no_code(folder: Path, tmp_path: Path, key: str, depth: int) -> None:
    mark = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Evil: pass\n")
    said: dict[str, Any] = {key: HOSTILE[key]}
    for number in range(depth):
        said = {f"part{number}": said}
    change(folder, **said)
    config = load(folder).config
    assert config._attn_implementation == "eager"
    assert "evil" not in json.dumps(config.to_dict(), default=str)
    assert not mark.exists()


@pytest.mark.parametrize(
    "quantiser", [{"quant_method": "gptq", "bits": 4}, {"quant_method": "evil.Class"}, {"quant_method": 7}, "evil"]
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_configuration_chooses_no_quantiser(folder: Path, quantiser: Any, nested: bool) -> None:
    said = {"quantization_config": quantiser}
    change(folder, **{"text_config": said} if nested else said)
    assert "holds quantised weights" in refusal(folder)


@pytest.mark.parametrize(
    "said", [{"to_dict": 5}, {"get_text_config": "x"}, {"num_hidden_layers": "many"}, {"dtype": []}]
)
def test_a_configuration_that_breaks_transformers_is_one_message(folder: Path, said: dict[str, Any]) -> None:
    change(folder, **said)
    with pytest.raises(ModelError, match=r"^model\.name: .* cannot be loaded: "):
        load(folder)


@pytest.mark.parametrize(
    "said",
    [
        {"tokenizer_class": "AutoModel"},
        {"tokenizer_class": "pipeline"},
        {"tokenizer_class": "os.system"},
        {"tokenizer_class": 7},
        {"auto_map": ["evil.Evil", "evil.Evil"], "tokenizer_class": "Evil"},
        {"auto_map": []},
        {"auto_map": 7},
    ],
)
def test_a_tokenizer_chooses_no_code(folder: Path, tmp_path: Path, said: dict[str, Any]) -> None:
    mark = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Evil: pass\n")
    change(folder, "tokenizer_config.json", **said)
    # Some are passed over, some refused; none runs, and nothing but a refusal comes out.
    with contextlib.suppress(ModelError):
        assert load_tokenizer(ModelSource(name=str(folder)))("w1 w2")["input_ids"]
    assert not mark.exists()


def test_an_adapter_is_no_model_and_names_none(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/evil"}))
    assert "holds an adapter; name its base model" in refusal(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin"])
def test_a_file_is_no_model_folder(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    assert "is a file" in refusal(path)


@pytest.mark.parametrize("head", ["base", "lm"])
@pytest.mark.parametrize("family", READ_TEXT)
def test_of_a_whole_checkpoint_only_the_head_and_the_pooler_are_new(tmp_path: Path, family: str, head: Any) -> None:
    tiny(family, head=head).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    notes: list[str] = []
    load(tmp_path, notes=notes)
    lacks_pooler = head == "lm" and family in ("bert", "albert")
    assert len(notes) == lacks_pooler
    assert all("has no pooler" in note for note in notes)


@pytest.mark.parametrize("family", READ_TEXT)
def test_a_checkpoint_that_lacks_a_weight_of_its_body_is_refused_by_name(tmp_path: Path, family: str) -> None:
    tiny(family, head="base").save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    lost = sorted(name for name in weights if "pooler" not in name and "expert" not in name)[-1]
    save_file({name: weight for name, weight in weights.items() if name != lost}, path, {"format": "pt"})
    assert "its weights lack " in refusal(tmp_path)
    assert lost.rpartition(".")[2] in refusal(tmp_path)
