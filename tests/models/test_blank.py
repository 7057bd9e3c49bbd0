"""A model without numbers has the shapes, the types and the settings of the one that is loaded."""

from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor

from luthier.errors import ModelError
from luthier.models.blank import blank_model, faking, is_bf16, read_configuration
from luthier.models.load import Ask, load_model
from luthier.models.source import ModelSource
from tests.runs import tiny_model
from tests.tiny import classification, tiny, tokenizer

FAMILIES = ("bert", "albert", "deberta-v2", "gpt2", "llama", "t5", "bart")


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_built_as_the_loaded_model_is(family: str, tmp_path: Path) -> None:
    ask, source = Ask.of(classification()), ModelSource(name=str(tiny_model(tmp_path, family)))
    loaded = load_model(source, ask, device="cpu", seed=0, processor=tokenizer())
    settings = read_configuration(source, ask)
    with faking():
        blank = blank_model(settings, ask, source, device="cpu", pad_token_id=0)
        found = {name: (tuple(p.shape), p.dtype) for name, p in blank.named_parameters()}
        assert all(isinstance(parameter, FakeTensor) for parameter in blank.parameters())
    assert found == {name: (tuple(p.shape), p.dtype) for name, p in loaded.named_parameters()}
    for name in ("pad_token_id", "use_cache", "_attn_implementation"):
        assert getattr(blank.config, name) == getattr(loaded.config, name)


def test_its_weights_can_be_cast(tmp_path: Path) -> None:
    ask, source = Ask.of(classification()), ModelSource(name=str(tiny_model(tmp_path)), dtype="bfloat16")
    settings = read_configuration(source, ask)
    with faking():
        blank = blank_model(settings, ask, source, device="cpu", pad_token_id=0)
        assert {parameter.dtype for parameter in blank.parameters()} == {torch.bfloat16}
        assert {parameter.dtype for parameter in blank.float().parameters()} == {torch.float32}


def test_a_model_that_the_task_does_not_suit_is_refused(tmp_path: Path) -> None:
    source = ModelSource(name=str(tiny_model(tmp_path, "whisper")))
    with pytest.raises(ModelError, match="does not suit"):
        read_configuration(source, Ask.of(classification()))


def test_the_file_tells_how_it_holds_the_weights_and_else_the_configuration(tmp_path: Path) -> None:
    source, ask = ModelSource(name=str(tiny_model(tmp_path))), Ask.of(classification())
    assert not is_bf16(source, read_configuration(source, ask))
    tiny("bert", head="base").bfloat16().save_pretrained(tmp_path)
    settings = read_configuration(source, ask)
    assert is_bf16(source, settings)
    settings.dtype = torch.float32
    assert is_bf16(source, settings)
    (tmp_path / "model.safetensors").unlink()
    assert not is_bf16(source, settings)
    settings.dtype = torch.bfloat16
    assert is_bf16(source, settings)
