"""Masked language modelling over texts of one window and of several: tokens alone, and whole words."""

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from luthier.tasks.masked_lm import MaskedLM
from tests.contracts.examples._example import Example
from tests.tiny import WORDS, texts, tiny, tokenizer

RIGHT = ("bert", "roberta", "distilbert", "albert", "electra", "deberta-v2")
FAMILIES = (*((family, "right") for family in RIGHT), ("modernbert", "left"))


def build(family: str) -> PreTrainedModel:
    return tiny(family, head="lm")


def with_mask(padding_side: str = "right") -> PreTrainedTokenizerFast:
    """The tokenizer of every test, its last word the mask."""
    return tokenizer(padding_side, mask_token="w59")


def _made(name: str, *, whole_words: bool) -> Example:
    task = MaskedLM(max_length=24, whole_words=whole_words)
    rows = Dataset.from_dict({"text": texts(12, longest=60)})
    easy = Dataset.from_dict({"text": [" ".join([WORDS[number % 3]] * 16) for number in range(12)]})
    return Example(name, task, rows, build, with_mask, FAMILIES, easy)


EXAMPLES = [_made("tokens", whole_words=False), _made("whole-words", whole_words=True)]
