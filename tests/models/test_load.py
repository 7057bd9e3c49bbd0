"""Loading trusts no download to choose code, says what is wrong, and gives new heads under the seed."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from luthier.errors import ModelError
from luthier.models.load import Ask, attention, load_model
from luthier.models.processor import load_tokenizer
from luthier.models.source import ModelSource
from tests.tiny import classification, rows, tiny, tokenizer

AUTO = "AutoModelForSequenceClassification"
ASK = Ask.of(classification())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained folder without a classification head."""
    folder = tmp_path_factory.mktemp("saved")
    tiny("bert", head="base").save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def load(folder: Path, *, seed: int = 0, **said: Any) -> PreTrainedModel:
    source = ModelSource(name=str(folder), **said)
    return load_model(source, ASK, device="cpu", seed=seed, processor=load_tokenizer(source))


def change(folder: Path, name: str = "config.json", **said: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | said))


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(folder)
    return str(caught.value)


def test_a_folder_is_loaded_under_the_tasks_head(folder: Path) -> None:
    model, base = load(folder), tiny("bert", head="base")
    assert type(model).__name__ == "BertForSequenceClassification"
    assert model.config.id2label == {0: "good", 1: "neutral", 2: "poor"}
    assert model.config.problem_type == "single_label_classification"
    assert all(torch.equal(p, model.bert.get_parameter(name)) for name, p in base.named_parameters())


def test_a_new_head_is_drawn_under_the_seed(folder: Path) -> None:
    torch.manual_seed(123)
    one = load(folder, seed=1).classifier.weight
    torch.manual_seed(321)
    assert torch.equal(load(folder, seed=1).classifier.weight, one)
    assert not torch.equal(load(folder, seed=2).classifier.weight, one)


def test_nothing_is_said_of_the_new_head(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(folder)
    assert capfd.readouterr() == ("", "")


def test_code_beside_a_model_is_never_run(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Evil: pass\n")
    auto_map = {"AutoConfig": "evil.Evil", AUTO: "evil.Evil", "AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    change(folder, auto_map=auto_map)
    change(folder, "tokenizer_config.json", auto_map=auto_map)
    assert type(load(folder)).__name__ == "BertForSequenceClassification"
    load_tokenizer(ModelSource(name=str(folder)))
    change(folder, model_type="evil")
    assert refusal(folder).startswith("model.name: ")
    assert not mark.exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"])
@pytest.mark.parametrize("theirs", ["sdpa", "org/evil-kernel"])
def test_a_models_file_does_not_choose_the_attention(folder: Path, key: str, theirs: str) -> None:
    change(folder, **{key: theirs})
    assert load(folder).config._attn_implementation == "eager"
    assert load(folder, attention="sdpa").config._attn_implementation == "sdpa"


def test_weights_that_may_run_code_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(tiny("bert", head="base").state_dict(), folder / "pytorch_model.bin")
    assert "safetensors" in refusal(folder)


@pytest.mark.parametrize("cut", [0, 4, 100, 5000])
def test_a_file_of_weights_that_breaks_off_is_refused(folder: Path, cut: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    assert refusal(folder).startswith(f"model.name: {folder} cannot be loaded: ")


@pytest.mark.parametrize("config", ["{", "[]", '{"model_type": 7}', "{}", '{"model_type": "no-such-type"}'])
def test_a_configuration_that_is_none_is_refused(folder: Path, config: str) -> None:
    (folder / "config.json").write_text(config)
    assert refusal(folder).startswith(f"model.name: {folder} cannot be loaded: ")


def test_a_folder_that_is_empty_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"model.name: {tmp_path} cannot be loaded: ")
    with pytest.raises(ModelError, match=r"model\.name"):
        load_tokenizer(ModelSource(name=str(tmp_path)))


def test_a_head_for_other_labels_is_replaced_by_a_new_one(tmp_path: Path) -> None:
    tiny("bert", num_labels=5).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    model = load(tmp_path)
    assert model.classifier.weight.shape == (3, 32)
    assert torch.equal(
        model.bert.embeddings.word_embeddings.weight, tiny("bert").bert.embeddings.word_embeddings.weight
    )


def test_a_body_of_another_size_than_its_configuration_is_refused(folder: Path) -> None:
    change(folder, vocab_size=65)
    assert refusal(folder).endswith("its weights do not fit its config.json: bert.embeddings.word_embeddings.weight")


def test_a_decoder_without_a_padding_token_classifies_rows_in_a_batch(tmp_path: Path) -> None:
    tiny("gpt2", head="lm", pad_token_id=None).save_pretrained(tmp_path)
    bare = tokenizer()
    bare.pad_token = None
    bare.save_pretrained(tmp_path)
    model, processor = load(tmp_path).eval(), load_tokenizer(ModelSource(name=str(tmp_path)))
    task, data = classification(), rows(6)
    prepared = task.prepare(data, processor)
    together = task.predict(model, task.collate(prepared[:], processor))
    alone = [task.predict(model, task.collate(prepared[[number]], processor))[0] for number in range(6)]
    assert [p.scores for p in together] == [pytest.approx(p.scores, abs=1e-6) for p in alone]


def test_a_tokenizer_without_padding_pads_with_what_is_masked(folder: Path) -> None:
    change(folder, "tokenizer_config.json", pad_token=None)
    bare = tokenizer()
    bare.pad_token = None
    bare.save_pretrained(folder)
    loaded = load_tokenizer(ModelSource(name=str(folder)))
    assert loaded.pad_token == "[UNK]"
    assert loaded(["w1", "w1 w2"], padding=True)["attention_mask"] == [[1, 1, 1, 0], [1, 1, 1, 1]]


@pytest.mark.parametrize(("dtype", "expected"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_weights_are_held_as_asked(folder: Path, dtype: str, expected: torch.dtype) -> None:
    change(folder, dtype="float16")
    assert {p.dtype for p in load(folder, dtype=dtype).parameters()} == {expected}


@pytest.mark.parametrize("kind", ["flash_attention_2", "flash_attention_3", "flex_attention"])
def test_attention_that_needs_a_gpu_is_refused_without_one(folder: Path, kind: str) -> None:
    with pytest.raises(ModelError, match=f"model.attention: {kind} needs a GPU"):
        load(folder, attention=kind)


@pytest.mark.parametrize("kind", ["flash_attention_2", "flash_attention_3"])
def test_attention_whose_package_is_not_there_is_refused(kind: str) -> None:
    with pytest.raises(ModelError, match=f"model.attention: {kind} needs the package flash-attn"):
        attention(kind, "cuda")


def test_attention_that_is_there_is_taken() -> None:
    assert attention("flex_attention", "cuda") == "flex_attention"
    assert (attention("auto", "cpu"), attention("auto", "cuda"), attention("sdpa", "cpu")) == ("eager", None, "sdpa")
