"""Question answering: every question answered, and some without an answer; texts of one window and of several."""

from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel

from luthier.tasks.question_answering import QuestionAnswering
from tests.contracts.examples._example import Example
from tests.tiny import WORDS, tiny

ENCODERS = ("bert", "roberta", "distilbert", "albert", "electra", "deberta-v2", "modernbert")
DECODERS = ("gpt2", "gpt_neox", "mistral", "qwen2", "opt", "bloom", "mixtral")
FAMILIES = (*((family, "right") for family in (*ENCODERS, *DECODERS)), ("llama", "left"))


def rows(num_rows: int, *, without: int = 0, longest: int = 60) -> Dataset:
    """Questions of two words about texts of up to 60; the first ones have no answer."""
    random, columns = np.random.default_rng(0), dict[str, list[Any]](question=[], context=[], answers=[])
    layout = QuestionAnswering().layouts()[0]
    for number in range(num_rows):
        words = random.choice(WORDS, size=random.integers(4, longest + 1)).tolist()
        first = int(random.integers(len(words) - 3))
        told = {"text": " ".join(words[first : first + 3]), "answer_start": len(" ".join([*words[:first], ""]))}
        row = {
            "question": " ".join(random.choice(WORDS, size=2)),
            "context": " ".join(words),
            "answers": [] if number < without else [told],
        }
        for name, value in layout.read(row, None).items():
            columns[name].append(value)
    return Dataset.from_dict(columns)


def build(family: str) -> PreTrainedModel:
    return tiny(family, head="question-answering", num_labels=2)


def _made(name: str, *, without: int) -> Example:
    task = QuestionAnswering(max_length=32, stride=8, no_answer=without > 0)
    return Example(name, task, rows(12, without=without), build, families=FAMILIES)


EXAMPLES = [_made("answered", without=0), _made("some-unanswered", without=4)]
