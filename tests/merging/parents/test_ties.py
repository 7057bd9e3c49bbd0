"""What is tied: known from files as transformers knows it from the model; mixed models get a head of their own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from luthier.merging.beside.configuring import merged_config
from luthier.merging.parents.checkpoint import Folder, States
from luthier.merging.parents.ties import tied_names, ties
from tests.merging.models import child, llama
from tests.merging.tokenized import mean_into, opened
from tests.tiny import FAMILIES, tiny, tokenizer

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def states(label: str, seed: int, head: Tensor | None = None, **config: Any) -> States:
    torch.manual_seed(seed)
    tensors = {EMBEDDING: torch.randn(5, 2), "model.norm.weight": torch.randn(2)}
    return States(tensors | ({HEAD: head} if head is not None else {}), label, config)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_names_that_a_file_leaves_out_are_tied_to_what_transformers_ties_them_to(family: str, tmp_path: Path) -> None:
    model = tiny(family, head="lm", vocab_size=67)
    model.save_pretrained(tmp_path)
    folder = Folder(tmp_path, family)
    left_out = [name for name in model.all_tied_weights_keys if name not in folder.specs]
    found = tied_names(folder.specs, left_out)
    assert found.keys() == set(left_out)
    for name, source in found.items():
        assert model.get_parameter(name) is model.get_parameter(source)


def test_a_head_that_is_tied_everywhere_is_not_written() -> None:
    doubled = states("b", 1, tie_word_embeddings=True)
    doubled.tensors = {**doubled.tensors, HEAD: doubled.tensors[EMBEDDING].clone()}
    found = ties([states("a", 0), doubled])
    assert found.dropped == {HEAD}
    assert found.tied is True
    assert found.aliases == {"a": {}, "b": {}}


def test_one_model_s_own_head_unties_all() -> None:
    found = ties([states("a", 0, tie_word_embeddings=True), states("b", 1, torch.randn(5, 2))])
    assert found.dropped == frozenset()
    assert found.aliases == {"a": {HEAD: EMBEDDING}, "b": {}}
    assert found.tied is False


def test_a_head_with_the_embedding_s_numbers_is_its_own_where_the_configuration_says_so() -> None:
    each = states("a", 0, tie_word_embeddings=False)
    each.tensors = {**each.tensors, HEAD: each.tensors[EMBEDDING].clone()}
    assert ties([each]).dropped == frozenset()
    assert ties([each]).tied is False


def test_a_head_of_other_numbers_is_kept_whatever_the_configuration_says() -> None:
    found = ties([states("a", 0, torch.randn(5, 2), tie_word_embeddings=True)])
    assert found.tied is False


def test_models_without_a_head_leave_the_configuration_as_it_is() -> None:
    assert ties([states("a", 0), states("b", 1)]).tied is None


def test_a_classifier_s_head_is_no_tie() -> None:
    labels: Mapping[str, Tensor] = {"head.weight": torch.randn(3, 2), EMBEDDING: torch.randn(5, 2)}
    found = ties([States(labels, "a"), States(labels, "b")])
    assert found.tied is None
    assert found.dropped == frozenset()


def test_t5_keeps_what_it_says_for_that_scales_its_scores() -> None:
    each = {"shared.weight": torch.ones(5, 2), HEAD: torch.zeros(5, 2)}
    assert ties([States(each, "a", {"model_type": "t5", "tie_word_embeddings": False})]).tied is None


def test_a_shared_embedding_that_is_stored_three_times_is_written_once() -> None:
    shared = torch.randn(5, 2)
    copies = {f"{part}.embed_tokens.weight": shared.clone() for part in ("encoder", "decoder")}
    found = ties([States({"shared.weight": shared, **copies}, "a"), States({"shared.weight": shared + 1}, "b")])
    assert found.dropped == copies.keys()


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_merge_of_a_tied_and_another_model_loads_with_the_right_head(tmp_path: Path, is_tied: bool) -> None:
    folders = {}
    for number, tied in enumerate([True, is_tied]):
        model = child(llama(vocab_size=len(tokenizer()), tie_word_embeddings=tied), number, by=0.1)
        folders[str(number)] = tmp_path / str(number)
        model.save_pretrained(folders[str(number)])
    assert (HEAD in load_file(folders["1"] / "model.safetensors")) is not is_tied
    checkpoints, found = opened(folders)
    mean_into(tmp_path, checkpoints, found.dropped)
    config, _ = merged_config(checkpoints["0"].config, tied=found.tied)
    (tmp_path / "config.json").write_text(json.dumps(config))
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    rows = [each.read(EMBEDDING if is_tied or label == "0" else HEAD) for label, each in checkpoints.items()]
    torch.testing.assert_close(model.lm_head.weight.detach(), torch.stack(rows).mean(0))
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is is_tied
