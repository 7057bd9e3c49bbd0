"""Rows, stand-ins, sizes and refusals, on folders of tiny models; rows of models against mergekit's tokenizer task."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from luthier.errors import MergeError
from luthier.merging.recipes.recipe import TokenSource
from tests.merging.tokenized import loaded_tokenizer, model_of, vocabulary_of

NUM_WORDS = 64


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base with 64 tokens, and two models that added different ones, one of them the same."""
    top = tmp_path_factory.mktemp("models")
    return {
        "base": model_of(top / "base"),
        "a": model_of(top / "a", "<tool>", "foo bar", seed=1),
        "b": model_of(top / "b", "<call>", "<tool>", seed=2),
    }


def test_a_union_has_the_base_s_numbers_and_then_what_each_model_brought(folders: dict[str, Path]) -> None:
    vocabulary = vocabulary_of(folders, "base", "union")
    assert vocabulary.size == NUM_WORDS + 3
    assert vocabulary.num_added == {"base": 0, "a": 2, "b": 1}
    assert vocabulary.num_missing == {"base": 3, "a": 1, "b": 1}
    assert vocabulary.tokens is not None
    numbers = vocabulary.tokens.numbers
    assert [numbers[token] for token in ("<tool>", "foo bar", "<call>")] == [64, 65, 66]
    assert vocabulary.rows["b"].tolist() == [*range(64), 65, -1, 64]


def test_what_stands_in_is_the_only_owner_s_the_base_s_or_the_mean(folders: dict[str, Path]) -> None:
    vocabulary = vocabulary_of(folders, "base", "union")
    assert vocabulary.stand_ins == {64: (("a", 64), ("b", 65)), 65: (("a", 65),), 66: (("b", 64),)}
    of_a = vocabulary_of(folders, "a", "union")
    assert of_a.stand_ins[64] == (("a", 64),)


def test_the_base_s_tokens_alone_need_no_new_tokenizer(folders: dict[str, Path]) -> None:
    vocabulary = vocabulary_of(folders, "base", "base")
    assert vocabulary.size == NUM_WORDS
    assert vocabulary.tokens is None
    assert vocabulary.source == "base"
    assert not vocabulary.changes("base")
    assert vocabulary.changes("a")
    assert vocabulary.rows["b"].tolist() == list(range(64))


def test_the_tokens_of_a_named_model_can_be_kept(folders: dict[str, Path]) -> None:
    vocabulary = vocabulary_of(folders, "base", "b")
    assert (vocabulary.size, vocabulary.source, vocabulary.tokens) == (66, "b", None)
    assert vocabulary.rows["a"].tolist() == [*range(64), -1, 64]
    assert vocabulary.stand_ins == {64: (("b", 64),), 65: (("a", 64), ("b", 65))}


def test_different_tokenizers_and_sizes_without_a_choice_are_refused_by_name(folders: dict[str, Path]) -> None:
    with pytest.raises(MergeError, match=r"base 64, a 66, b 66; say tokenizer: union .* or tokenizer: base"):
        vocabulary_of(folders, "base", None)


def test_different_tokens_in_as_many_rows_are_merged_by_number_and_it_is_said(folders: dict[str, Path]) -> None:
    vocabulary = vocabulary_of({"a": folders["a"], "b": folders["b"]}, "a", None)
    assert not vocabulary.changes_any
    assert "b in 4" in vocabulary.notes[0]
    assert "tokenizer: union" in vocabulary.notes[0]


def test_the_same_tokenizer_changes_nothing_whatever_is_chosen(folders: dict[str, Path], tmp_path: Path) -> None:
    same = {"a": folders["a"], "other": model_of(tmp_path / "other", "<tool>", "foo bar", seed=5)}
    for source in (None, "union", "base", "other"):
        vocabulary = vocabulary_of(same, "a", source)
        assert not vocabulary.changes_any
        assert vocabulary.notes == ()
        assert vocabulary.tokens is None


def test_embeddings_that_differ_by_padding_become_as_long_as_the_base_s(tmp_path: Path) -> None:
    folders = {"short": model_of(tmp_path / "short"), "long": model_of(tmp_path / "long", padded_to=80, seed=1)}
    cut = vocabulary_of(folders, "short", None)
    assert cut.size == 64
    assert not cut.changes("short")
    assert cut.changes("long")
    assert "long: 80 rows of the embedding become 64" in cut.notes[0]
    grown = vocabulary_of(folders, "long", None)
    assert grown.size == 80
    assert grown.stand_ins[79] == (("long", 79),)
    assert grown.rows["short"][64:].tolist() == [-1] * 16


def test_a_size_is_rounded_up_and_the_rows_above_are_no_token_s(folders: dict[str, Path]) -> None:
    vocabulary = vocabulary_of(folders, "base", "union", multiple_of=16)
    assert vocabulary.size == 80
    assert set(vocabulary.num_donors[67:].tolist()) == {-1}
    assert vocabulary_of({"base": folders["base"]}, "base", None, multiple_of=48).size == 96


def test_rules_for_single_tokens_win(folders: dict[str, Path]) -> None:
    rules = {
        "<tool>": TokenSource(model="b", force=True),
        "<call>": TokenSource(model="a", token="w3"),
        "foo bar": TokenSource(is_zero=True),
        "<new>": TokenSource(model="b", token=7),
    }
    vocabulary = vocabulary_of(folders, "base", "union", rules=rules)
    assert vocabulary.size == NUM_WORDS + 4
    assert vocabulary.tokens is not None
    assert vocabulary.tokens.numbers["<new>"] == 67
    assert vocabulary.stand_ins == {64: (("b", 65),), 65: (), 66: (("a", 7),), 67: (("b", 7),)}
    assert [int(vocabulary.rows[label][64]) for label in folders] == [-1, -1, -1]
    assert int(vocabulary.rows["a"][65]) == 65  # zeros stand in only where the token is missing


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (TokenSource(force=True), "nothing says from where"),
        (TokenSource(model="a", token="nothing"), "in a, which has no such token"),
        (TokenSource(model="a", token=66), "in a, which has no such token"),
        (TokenSource(model="a"), "<call> in a, which has no such token"),
    ],
)
def test_rules_that_lead_nowhere_are_refused(folders: dict[str, Path], rule: TokenSource, told: str) -> None:
    with pytest.raises(MergeError, match=told):
        vocabulary_of(folders, "base", "union", rules={"<call>": rule})


def test_a_source_that_is_no_model_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(MergeError, match="tokenizer: uniom is no model of this merge"):
        vocabulary_of(folders, "base", "uniom")


def test_a_token_that_no_weights_hold_does_not_join(folders: dict[str, Path], tmp_path: Path) -> None:
    short = model_of(tmp_path / "short", "<one>", "<two>", padded_to=65)
    vocabulary = vocabulary_of({"base": folders["base"], "short": short}, "base", "union")
    assert vocabulary.tokens is not None
    assert "<two>" not in vocabulary.tokens.numbers
    assert vocabulary.size == 65


def test_a_model_without_a_tokenizer_has_the_base_s_if_it_is_as_long(folders: dict[str, Path], tmp_path: Path) -> None:
    bare = model_of(tmp_path / "bare", seed=3)
    for path in bare.glob("tokenizer*"):
        path.unlink()
    vocabulary = vocabulary_of({**folders, "bare": bare}, "base", "union")
    assert vocabulary.notes == ("bare has no tokenizer; it is taken to be that of base",)
    assert torch.equal(vocabulary.rows["bare"], vocabulary.rows["base"])
    with pytest.raises(MergeError, match="bare: has no tokenizer, and 64 rows where a has 66"):
        vocabulary_of({"a": folders["a"], "bare": bare}, "a", "union")


def test_the_written_union_reads_texts_as_transformers_would(folders: dict[str, Path], tmp_path: Path) -> None:
    vocabulary = vocabulary_of(folders, "base", "union")
    vocabulary.write(tmp_path)
    words = loaded_tokenizer(tmp_path)
    assert vocabulary.tokens is not None
    assert words.get_vocab() == vocabulary.tokens.numbers
    assert words("w1 <call> w2<tool> foo bar").input_ids == [1, 5, 66, 6, 64, 65, 2]
    kept = words.added_tokens_decoder
    assert kept[64].special
    assert kept[66].special
    assert not kept[65].special
    assert words.pad_token == "[PAD]"


@pytest.mark.parametrize("source", ["union", "base", "a"])
def test_rows_are_mergekit_s(folders: dict[str, Path], source: str) -> None:
    """Its numbers for new tokens may be others; its row of each token in each model is ours."""
    from mergekit.common import ModelReference
    from mergekit.tokenizer.build import build_tokenizer

    models = {label: ModelReference.model_validate(str(path)) for label, path in folders.items()}
    theirs = build_tokenizer(
        models["base"], list(models.values()), models.get(source, source), trust_remote_code=False, add_tokens=()
    )
    vocabulary = vocabulary_of(folders, "base", source)
    numbers = vocabulary.tokens.numbers if vocabulary.tokens else loaded_tokenizer(folders[source]).get_vocab()
    assert theirs.tokenizer.get_vocab().keys() == numbers.keys()
    for token, number in theirs.tokenizer.get_vocab().items():
        for label, model in models.items():
            assert theirs.permutations[model][number] == int(vocabulary.rows[label][numbers[token]])


def test_transformers_is_not_imported_for_it(folders: dict[str, Path]) -> None:
    models = [(label, str(path)) for label, path in folders.items()]
    code = (
        "import sys; from pathlib import Path; from luthier.merging.vocabularies.vocabulary import one_vocabulary\n"
        f"one_vocabulary([(label, Path(path)) for label, path in {models}], "
        "{'base': 64, 'a': 66, 'b': 66}, base='base', source='union')\n"
        "sys.exit('transformers' in sys.modules or 'tokenizers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
