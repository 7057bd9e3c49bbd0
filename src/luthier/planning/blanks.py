"""Rows and a tokenizer that stand for a user's own, where a plan is asked for a length alone.

Every row has the same one word, as often as is needed, and whatever may be learnt of it is learnt: the most that
rows of this length can take.
"""

from collections.abc import Callable, Mapping
from typing import Any

from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

from luthier.errors import RecipeError
from luthier.tasks import Row, Task

SPECIAL = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"} | {
    "mask_token": "[MASK]",
    "eos_token": "[SEP]",
}
WORD = "word"
NUM_QUESTION, NUM_CHOICES = 2, 4
"""Words of a question, and choices of a row, where the length does not say."""
WITHOUT_LIMIT = 10**30
"""What transformers says of a tokenizer that sets no limit."""


def blank_tokenizer(settings: PreTrainedConfig) -> PreTrainedTokenizerFast:
    """A tokenizer of one word, `[CLS] word ... [SEP]`, with the model's own limit."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys([*SPECIAL.values(), WORD]))}
    words = Tokenizer(WordLevel(numbers, unk_token=SPECIAL["unk_token"]))
    words.pre_tokenizer = Whitespace()
    ends = [(name, numbers[name]) for name in ("[CLS]", "[SEP]")]
    words.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    limit = getattr(settings, "max_position_embeddings", None) or WITHOUT_LIMIT
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=limit, **SPECIAL)


def blank_rows(task: Task, length: int, num_rows: int) -> tuple[Task, Dataset]:
    """Rows that have `length` tokens at least, and the task with its limit set to that.

    Raises RecipeError where rows of this task cannot be made up.
    """
    if task.kind() not in _ROWS:
        raise RecipeError(
            f"plan: rows of {task.kind()} cannot be made up from a length; leave --length out and give data.train"
        )
    changed, write = _ROWS[task.kind()]
    settings = {name: length if value is ... else value for name, value in changed.items()}
    blank = task.model_copy(update=settings)
    layout = blank.layouts()[-1]
    rows = [layout.read(dict(write(blank, " ".join([WORD] * length), number)), None) for number in range(num_rows)]
    return blank, Dataset.from_list([dict(row) for row in rows])


def _classified(task: Any, text: str, number: int) -> Row:
    if task.problem == "regression":
        return {"text": text, "label": float(number)}
    labels = task.labels if isinstance(task.labels, tuple) and task.labels else ("no", "yes")
    label = labels[number % len(labels)]
    return {"text": text, "label": [label] if task.problem == "multi-label" else label}


def _tagged(task: Any, text: str, number: int) -> Row:
    words = text.split()
    name = task.types[0] if task.types != "auto" else "A"
    first, others = (name, name) if task.scheme == "plain" else (f"B-{name}", "O")
    return {"tokens": words, "tags": [first, *[others] * (len(words) - 1)]}


def _answered(task: Any, text: str, number: int) -> Row:
    answer = {"text": WORD, "answer_start": 0}
    return {"question": " ".join([WORD] * NUM_QUESTION), "context": text, "answers": [answer]}


def _chosen(task: Any, text: str, number: int) -> Row:
    choices = [f"{WORD}{choice}" for choice in range(NUM_CHOICES)]
    return {"question": text, "choices": choices, "answer": number % NUM_CHOICES}


def _alike(task: Any, text: str, number: int) -> Row:
    texts = {"anchor": text, "positive": text, "negative": text}
    if task.rows in ("auto", "pairs", "triplets"):
        return texts if task.rows == "triplets" else {name: text for name in ("anchor", "positive")}
    return (
        {"text": text, "label": f"{number % 2}"}
        if task.rows == "labelled"
        else {"text": text, "text_pair": text, "score": 1.0}
    )


def _translated(task: Any, text: str, number: int) -> Row:
    return {"source": text, "target": text}


def _plain(task: Any, text: str, number: int) -> Row:
    return {"text": text}


_PLAIN = {"rows": "text", "template": "none", "learn": "everything", "max_length": ...}
_ROWS: Mapping[str, tuple[Mapping[str, Any], Callable[[Any, str, int], Row]]] = {
    "causal-lm": (_PLAIN, _plain),
    "masked-lm": ({"max_length": ...}, _plain),
    "multiple-choice": ({"max_length": ...}, _chosen),
    "question-answering": ({"max_length": ...}, _answered),
    "sentence-similarity": ({"max_length": ...}, _alike),
    "seq2seq": ({"max_source_length": ..., "source_language": None, "target_language": None}, _translated),
    "text-classification": ({"max_length": ...}, _classified),
    "token-classification": ({"max_length": ...}, _tagged),
}
"""Of each task the settings that a blank row needs, `...` for the length, and what writes a row."""
