"""Vectors of sentences: pooled as sentence-transformers pools, and written so that it makes the same ones."""

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules.pooling import Pooling as Theirs

from luthier.errors import ModelError
from luthier.models import sentences
from luthier.models.sentences import THEIR_NAMES, Pooling, Sentences, pool
from tests.runs import tiny_model
from tests.tiny import texts, tiny, tokenizer

every_pooling = pytest.mark.parametrize("pooling", get_args(Pooling))


@every_pooling
@pytest.mark.parametrize("side", ["right", "left"])
def test_pooling_is_that_of_sentence_transformers(pooling: str, side: str) -> None:
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    mask = mask if side == "right" else mask.flip(1)
    hidden = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    if pooling == "cls" and side == "left":
        assert torch.equal(pool(hidden, mask, "cls"), hidden[torch.arange(3), torch.tensor([0, 3, 4])])
        return
    theirs = Theirs(8, pooling_mode=THEIR_NAMES[pooling][1])  # type: ignore[index]
    expected = theirs({"token_embeddings": hidden, "attention_mask": mask})["sentence_embedding"]
    torch.testing.assert_close(pool(hidden, mask, pooling), expected, rtol=1e-6, atol=1e-6)


@every_pooling
@pytest.mark.parametrize("normalize", [False, True])
def test_a_written_folder_is_read_back_by_both(pooling: Pooling, normalize: bool, tmp_path: Path) -> None:
    how = Sentences(pooling, normalize, 16)
    folder = tiny_model(tmp_path / "model")
    sentences.write(folder, how, 32)
    model = tiny("bert", head="base").eval()
    model.config._name_or_path = str(folder)
    assert sentences.usual(model) == how
    rows = texts(6, longest=12)
    tokens = tokenizer()(rows, padding=True, return_tensors="pt")
    with torch.no_grad():
        ours = how.embed(model(**tokens).last_hidden_state, tokens["attention_mask"])
    theirs = SentenceTransformer(str(folder), device="cpu").encode(rows, convert_to_tensor=True)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)


def test_a_folder_of_a_newer_version_is_read(tmp_path: Path) -> None:
    made = SentenceTransformer(modules=SentenceTransformer(str(tiny_model(tmp_path / "tiny")), device="cpu"))
    made[1].pooling_mode = "lasttoken"
    made.save_pretrained(str(tmp_path / "new"))
    model = tiny("bert", head="base")
    model.config._name_or_path = str(tmp_path / "new")
    assert sentences.usual(model).pooling == "last"


def test_a_model_without_such_files_is_pooled_by_its_kind() -> None:
    assert sentences.usual(tiny("bert", head="base")) == Sentences("mean")
    assert sentences.usual(tiny("llama", head="base")) == Sentences("last")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("modules.json", [{"path": "", "type": "x.Transformer"}, {"path": "2", "type": "x.Dense"}], "Dense"),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, "max_tokens"),
        ("1_Pooling/config.json", {"pooling_mode": "attention"}, "attention"),
    ],
)
def test_what_is_not_served_is_named(name: str, content: object, told: str, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    sentences.write(folder, Sentences(), 32)
    (folder / name).write_text(json.dumps(content))
    model = tiny("bert", head="base")
    model.config._name_or_path = str(folder)
    with pytest.raises(ModelError, match=told):
        sentences.usual(model)
