"""Multiple choice, with a number of choices that differs from row to row."""

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel

from luthier.tasks.multiple_choice import MultipleChoice
from tests.contracts.examples._example import Example
from tests.tiny import WORDS, texts, tiny

ENCODERS = ("bert", "roberta", "distilbert", "albert", "electra", "deberta-v2", "modernbert")
FAMILIES = tuple((family, "right") for family in ENCODERS)


def rows(num_rows: int, *, fewest: int = 2, most: int = 5) -> Dataset:
    """Questions with choices that are all different."""
    random = np.random.default_rng(0)
    choices = [
        [f"{word} {text}" for word, text in zip(random.permutation(WORDS), texts(num, seed=row), strict=False)]
        for row, num in enumerate(random.integers(fewest, most + 1, size=num_rows))
    ]
    answers = [int(random.integers(len(each))) for each in choices]
    return Dataset.from_dict({"question": texts(num_rows), "choices": choices, "answer": answers})


def build(family: str) -> PreTrainedModel:
    return tiny(family, head="multiple-choice")


EXAMPLES = [Example("plain", MultipleChoice(max_length=64), rows(12), build, families=FAMILIES)]
