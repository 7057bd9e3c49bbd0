"""Names and shapes tell which tensors have a row for each token, for every family."""

from pathlib import Path

import pytest
import torch

from luthier.merging.parents.checkpoint import Folder, Spec
from luthier.merging.vocabularies.words import embedding, num_rows, vocabulary_axes
from tests.tiny import FAMILIES, tiny


def spec(*shape: int) -> Spec:
    return Spec(shape, torch.float32)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_tensors_with_a_row_for_each_token_are_found_in_every_family(family: str, tmp_path: Path) -> None:
    tiny(family, head="lm", vocab_size=67).save_pretrained(tmp_path)  # no other size of the model
    folder = Folder(tmp_path, family)
    expected = {name: spec.shape.index(67) for name, spec in folder.specs.items() if 67 in spec.shape}
    assert expected
    assert vocabulary_axes(folder.specs, folder.config) == expected
    assert num_rows(folder.specs, folder.config) == 67


def test_rows_that_the_configuration_does_not_know_of_are_counted() -> None:
    specs = {"model.embed_tokens.weight": spec(70, 4), "lm_head.weight": spec(70, 4), "model.norm.weight": spec(70)}
    assert vocabulary_axes(specs, {"vocab_size": 64}) == {"model.embed_tokens.weight": 0, "lm_head.weight": 0}


def test_a_table_of_another_length_is_not_the_vocabulary_s() -> None:
    specs = {"model.embed_tokens_per_layer.weight": spec(9, 4), "model.embed_tokens.weight": spec(7, 4)}
    specs |= {"visual.embeddings.weight": spec(90, 4), "layers.0.output.weight": spec(7, 4)}
    assert embedding(specs, {"text_config": {"vocab_size": 7}}) == "model.embed_tokens.weight"
    assert vocabulary_axes(specs, {"text_config": {"vocab_size": 7}}) == {"model.embed_tokens.weight": 0}


def test_blocks_that_predict_ahead_have_tables_of_the_vocabulary() -> None:
    ahead = {"model.layers.61.embed_tokens.weight": spec(7, 4), "model.layers.61.shared_head.head.weight": spec(7, 4)}
    specs = {"model.embed_tokens.weight": spec(7, 4), **ahead}
    assert vocabulary_axes(specs, {"vocab_size": 7}).keys() == specs.keys()


def test_a_model_without_words_has_none() -> None:
    assert num_rows({"conv.weight": spec(4, 4)}, {}) is None
    assert vocabulary_axes({"conv.weight": spec(4, 4)}, {}) == {}
