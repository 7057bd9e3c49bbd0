"""Tokenizers joined into one, loaded again and set to work; numbers as transformers gives them."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from luthier.errors import MergeError
from luthier.merging.vocabularies.tokenizer_files import (
    Tokens,
    fingerprint,
    has_tokenizer,
    joined,
    read_tokens,
    written,
)
from tests.merging.tokenized import with_tokens

ANIMALS = "the cat and the dog saw the bird and the catfish; the dogs ran"
NUMBERS = "one hundred and twenty three thousand and twenty four hundreds"


def bytes_bpe(text: str, num: int) -> Tokenizer:
    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    words.train_from_iterator([text], trainers.BpeTrainer(vocab_size=num, initial_alphabet=list("abcdefghijĠ;")))
    return words


def tokens_of(words: Tokenizer, **settings: Any) -> Tokens:
    return Tokens(json.loads(words.to_str()), settings)


def loaded(tokens: Tokens) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(tokens.content))


def test_numbers_are_those_that_transformers_gives(tmp_path: Path) -> None:
    words = with_tokens(["<a>", "b c"])
    words.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings |= {"mask_token": "<mask>", "extra_special_tokens": ["<x>", "w4"]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    expected = AutoTokenizer.from_pretrained(tmp_path).get_vocab()
    assert expected["<mask>"] == 66  # in no file's vocabulary
    assert read_tokens(tmp_path, "a").numbers == expected


def test_equal_files_have_equal_fingerprints_and_added_tokens_others(tmp_path: Path) -> None:
    for name, added in {"a": [], "b": [], "c": ["<c>"]}.items():
        with_tokens(added).save_pretrained(tmp_path / name)
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b") != fingerprint(tmp_path / "c")
    settings = json.loads((tmp_path / "b" / "tokenizer_config.json").read_text())
    (tmp_path / "b" / "tokenizer_config.json").write_text(json.dumps({**settings, "mask_token": "<mask>"}))
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")


def test_a_join_with_one_that_extends_the_first_is_that_one() -> None:
    """As models are adapted to a domain: its tokens, and the merges that make them, come after those there were."""
    small, large = bytes_bpe(ANIMALS, 40), bytes_bpe(ANIMALS, 60)
    first, second = tokens_of(small), tokens_of(large)
    assert first.numbers.items() < second.numbers.items()
    both = joined(first, [(second, 10**6)])
    assert both.numbers == second.numbers
    assert loaded(both).encode(ANIMALS).ids == large.encode(ANIMALS).ids != small.encode(ANIMALS).ids


def test_every_token_of_another_bpe_vocabulary_can_be_made() -> None:
    animals, numbers = bytes_bpe(ANIMALS, 60), bytes_bpe(NUMBERS, 60)
    both = joined(tokens_of(animals), [(tokens_of(numbers), 10**6)])
    whole = loaded(both)
    assert whole.get_vocab() == both.numbers
    assert both.numbers.keys() == animals.get_vocab().keys() | numbers.get_vocab().keys()
    assert all(both.numbers[token] == number for token, number in animals.get_vocab().items())
    for text in (ANIMALS, NUMBERS):
        assert whole.decode(whole.encode(text).ids) == text
    new = numbers.get_vocab().keys() - animals.get_vocab().keys()
    assert new & set(whole.encode(NUMBERS).tokens)


def test_old_merges_are_read_as_well() -> None:
    words = tokens_of(bytes_bpe(ANIMALS, 60))
    model = {**words.content["model"], "merges": [" ".join(pair) for pair in words.content["model"]["merges"]]}
    old = Tokens({**words.content, "model": model}, {})
    assert joined(tokens_of(bytes_bpe(ANIMALS, 40)), [(old, 10**6)]).content["model"]["merges"]
    assert loaded(joined(old, [(tokens_of(bytes_bpe(NUMBERS, 60)), 10**6)])).encode(ANIMALS).ids


@pytest.mark.parametrize("kind", ["PreTrainedTokenizerFast", "GPT2Tokenizer", "Qwen2Tokenizer"])
def test_added_tokens_keep_their_numbers_where_the_vocabulary_grows(kind: str, tmp_path: Path) -> None:
    """A tokenizer's reader counts added tokens after the vocabulary, so a longer vocabulary would push them on."""
    animals, numbers = bytes_bpe(ANIMALS, 40), bytes_bpe(NUMBERS, 60)
    animals.add_special_tokens(["<|endoftext|>"])
    numbers.add_special_tokens(["<call>"])
    first = tokens_of(animals, eos_token="<|endoftext|>", unk_token="<|endoftext|>", tokenizer_class=kind)
    both = joined(first, [(tokens_of(numbers), 10**6)])
    written(both, tmp_path)
    words = AutoTokenizer.from_pretrained(tmp_path)
    assert words.get_vocab() == both.numbers
    assert words.eos_token_id == first.numbers["<|endoftext|>"]
    assert words("the cat<|endoftext|>one<call>").input_ids[-1] == both.numbers["<call>"]
    assert words.decode(words("the cat<|endoftext|>twenty").input_ids, skip_special_tokens=True) == "the cattwenty"


def unigram(pieces: dict[str, float], added: list[str]) -> Tokenizer:
    words = Tokenizer(models.Unigram([*pieces.items()], unk_id=0, byte_fallback=False))
    words.pre_tokenizer, words.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    words.add_special_tokens(added)
    return words


def test_unigram_pieces_keep_their_scores_and_added_tokens_their_places() -> None:
    first = unigram({"<unk>": 0.0, "▁a": -1.0, "b": -2.0, "c": -2.0}, ["<one>"])
    second = unigram({"<unk>": 0.0, "▁a": -1.0, "bc": -1.5}, ["<two>"])
    both = joined(tokens_of(first), [(tokens_of(second), 10**6)])
    whole = loaded(both)
    assert whole.get_vocab() == both.numbers
    assert both.numbers == {"<unk>": 0, "▁a": 1, "b": 2, "c": 3, "<one>": 4, "bc": 5, "<two>": 6}
    assert whole.encode("abc<one>a<two>").ids[:3] == [1, 5, 4]


def test_word_pieces_join_by_vocabulary_alone() -> None:
    def pieces(*words: str) -> Tokenizer:
        made = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        return made

    both = joined(tokens_of(pieces("[UNK]", "cat")), [(tokens_of(pieces("[UNK]", "##fish", "dog")), 10**6)])
    assert loaded(both).encode("catfish dog").tokens == ["cat", "##fish", "dog"]


def test_tokens_above_a_model_s_rows_do_not_join() -> None:
    second = tokens_of(bytes_bpe(ANIMALS, 60))
    assert max(joined(tokens_of(bytes_bpe(ANIMALS, 40)), [(second, 42)]).numbers.values()) == 41


def test_vocabularies_of_two_kinds_are_refused_but_not_their_added_tokens() -> None:
    first, second = tokens_of(bytes_bpe(ANIMALS, 40)), tokens_of(unigram({"<unk>": 0.0, "▁a": -1.0}, ["<one>"]))
    with pytest.raises(MergeError, match="cannot join the vocabularies of a BPE and a Unigram tokenizer"):
        joined(first, [(second, 10**6)])
    with_none = Tokens({**second.content, "model": {"type": "Unigram", "vocab": []}}, {})
    assert "<one>" in joined(first, [(with_none, 10**6)]).numbers


def test_listed_added_tokens_are_listed_anew_and_no_path_stays(tmp_path: Path) -> None:
    listed = {"3": {"content": "<a>", "special": True}}
    first = Tokens(
        {"model": {"type": "WordLevel", "vocab": {"x": 0, "y": 1, "z": 2}, "unk_token": "x"}, "added_tokens": []},
        {"added_tokens_decoder": listed, "name_or_path": "/home/someone/model"},
    )
    both = joined(first, [], besides=["new"])
    written(both, tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert {number: entry["content"] for number, entry in settings["added_tokens_decoder"].items()} == {
        "3": "<a>",
        "4": "new",
    }
    assert "name_or_path" not in settings


def test_a_tokenizer_without_tokenizer_json_is_read_by_transformers(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog"]))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    assert has_tokenizer(tmp_path)
    tokens = read_tokens(tmp_path, "old")
    assert tokens.kind == "WordPiece"
    assert tokens.numbers["dog"] == 6


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    assert not has_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model"')
    with pytest.raises(MergeError, match=r"mine: tokenizer\.json cannot be read"):
        read_tokens(tmp_path, "mine")


def test_a_tokenizer_of_today_is_whole_in_its_json(tmp_path: Path) -> None:
    words = PreTrainedTokenizerFast(tokenizer_object=bytes_bpe(ANIMALS, 50), pad_token="<pad>")
    words.save_pretrained(tmp_path)
    assert read_tokens(tmp_path, "a").numbers == words.get_vocab()
