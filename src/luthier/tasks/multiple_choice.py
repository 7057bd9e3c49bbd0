"""Multiple choice: which of several texts goes best with a question, each scored beside it.

A cross-entropy over a row's own choices, however many they are (Radford et al. 2018,
https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf). There is no
`transformers.pipeline` for it: a saved model is loaded with AutoModelForMultipleChoice.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from datasets import Dataset
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.component import Facts
from luthier.data.columns import BadRow, Column, Layout, fault_of_text, short
from luthier.data.spool import Spool, batches
from luthier.models.processor import Processor, tokenizer_of
from luthier.tasks import Batch, Loss, Prediction, Row, Task
from luthier.tasks._tokens import joined_columns, limit_of, settled_length, texts_apart


class MultipleChoice(Task):
    """Which of several choices answers a question or goes on with a text."""

    auto_model: ClassVar[str] = "AutoModelForMultipleChoice"
    architectures: ClassVar[tuple[str, ...]] = ("encoder",)
    pipeline: ClassVar[str] = "multiple-choice"
    sample: ClassVar[Any] = {"question": "What is cold?", "choices": ["ice", "fire"]}

    max_length: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"
    """Most tokens of a question with one of its choices; the longer of both loses its end. auto: the model's limit,
    512 at most."""

    def layouts(self) -> tuple[Layout, ...]:
        questions = ("prompt", "query", "goal", "context", "premise", "sent1", "text")
        contexts = ("passage", "article", "support")
        answers = ("label", "labels", "answerKey", "answer_key", "gold", "correct", "target")
        columns = (
            Column("question", questions),
            Column("context", contexts, required=False),
            Column("choices", ("options", "endings", "candidates"), holds="anything"),
            Column("answer", answers, holds="anything", target=True),
        )
        return (Layout(columns, _read),)

    @property
    def metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("accuracy", "loss")

    def resolve(self, facts: Facts) -> Self:
        return self.model_copy(update={"max_length": settled_length(self.max_length, facts)})

    def configuration(self) -> dict[str, Any]:
        return {}

    def prepare(self, rows: Dataset, processor: Processor, *, training: bool = False) -> Dataset:
        tokenizer, spool = tokenizer_of(processor), Spool()
        limit = limit_of(self.max_length, tokenizer)
        for piece in batches(rows):
            columns = _tokens(piece, tokenizer, limit)
            if "answer" in piece:
                columns["target"] = piece["answer"]
            spool.extend(columns)
        return spool.finish().with_format("numpy")

    def collate(self, rows: Mapping[str, Any], processor: Processor) -> Batch:
        tokenizer = tokenizer_of(processor)
        flat, nums = texts_apart(rows, tokenizer)
        # Rows with fewer choices are filled up with what no model is shown.
        inputs = {name: pad_sequence(each.split(nums), batch_first=True) for name, each in flat.items()}
        num_tokens = int(rows["length"].sum())
        targets = torch.as_tensor(rows["target"]) if "target" in rows else None
        return Batch(inputs, targets, num_tokens, inputs["input_ids"].numel() - num_tokens)

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        assert batch.targets is not None, "a loss needs targets"
        return _loss(_logits(model, batch), batch.targets)

    def predict(self, model: PreTrainedModel, batch: Batch, *, answers: bool = True) -> list[Prediction]:
        logits = _logits(model, batch)
        totals = counts = [0.0] * len(logits)
        if batch.targets is not None:
            loss = _loss(logits, batch.targets)
            totals, counts = loss.total.tolist(), loss.count.tolist()
        nums = _is_choice(batch).sum(-1).tolist()
        scores = [tuple(row[:num]) for row, num in zip(logits.softmax(-1).tolist(), nums, strict=True)]
        return [Prediction(*row) for row in zip(logits.argmax(-1).tolist(), scores, totals, counts, strict=True)]

    def describe(self, prediction: Prediction, row: Row) -> dict[str, Any]:
        number = int(prediction.value)
        return {"choice": number, "text": row["choices"][number], "scores": list(prediction.scores)}


def _is_choice(batch: Batch) -> Tensor:
    """Which choices are of a row, and not there because another row has more; (batch, choices)."""
    return batch.inputs["attention_mask"].any(-1)


def _logits(model: PreTrainedModel, batch: Batch) -> Float[Tensor, "batch choices"]:
    """The score of each choice; minus infinity where a row has no more.

    The model sees all choices of the batch as those of one row: it scores each by itself, and none that is padding.
    """
    is_choice = _is_choice(batch)
    found = model(**{name: values[is_choice][None] for name, values in batch.inputs.items()}).logits[0]
    found = found.to(torch.promote_types(found.dtype, torch.float32))
    logits: Float[Tensor, "batch choices"] = found.new_full(is_choice.shape, -torch.inf)
    return logits.masked_scatter(is_choice, found)


def _loss(logits: Float[Tensor, "batch choices"], targets: Tensor) -> Loss:
    total = F.cross_entropy(logits, targets, reduction="none")
    return Loss(total, torch.ones_like(total))


def _tokens(piece: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, limit: int) -> dict[str, Any]:
    """Rows' tokens, those of a row's choices one after the other; `sizes` tells how many are of each.

    With a context, the pair is that context, and the question with its choice.
    """
    firsts, seconds = [], []
    contexts = piece.get("context") or [None] * len(piece["question"])
    for question, context, choices in zip(piece["question"], contexts, piece["choices"], strict=True):
        firsts += [context or question] * len(choices)
        seconds += [f"{question} {choice}" if context else choice for choice in choices]
    tokens = tokenizer(firsts, seconds, truncation=True, max_length=limit, return_attention_mask=True)
    return joined_columns(tokens, [len(choices) for choices in piece["choices"]])


def _read(row: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """The row with its choices as texts, and its answer as the number of one, from 0."""
    value = row["choices"]
    texts, names = (value.get("text"), value.get("label")) if isinstance(value, Mapping) else (value, None)
    choices = _choices(texts)
    read = {**row, "choices": choices}
    if "answer" in row:
        read["answer"] = _number_of(row["answer"], choices, names if isinstance(names, list) else [])
    return read


def _choices(texts: Any) -> list[str]:
    """Raises BadRow where they are not two or more different texts."""
    if not isinstance(texts, list):
        raise BadRow(f"choices is {short(texts)}; it must be a list of texts")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise BadRow(f"choices: number {number} is {short(text)}, which is no text")
        if fault := "is empty" if not text else fault_of_text(text):
            raise BadRow(f"choices: number {number} {fault}")
    if len(texts) < 2:
        raise BadRow(f"choices has {len(texts)} text{'' if len(texts) == 1 else 's'}; at least two are needed")
    if twice := [text for number, text in enumerate(texts) if text in texts[:number]]:
        raise BadRow(f"choices has {short(twice[0])} twice")
    return texts


def _number_of(answer: Any, choices: Sequence[str], names: Sequence[Any]) -> int:
    """An answer as a choice's number, of its own name, its text, its letter, or its number from 0."""
    if answer in names:
        number = names.index(answer)
    elif answer in choices:
        number = choices.index(answer)
    elif isinstance(answer, str) and len(answer) == 1 and answer.upper() in ascii_uppercase:
        number = ascii_uppercase.index(answer.upper())
    elif isinstance(answer, str) and answer.isdecimal():
        number = int(answer)
    elif isinstance(answer, int) and not isinstance(answer, bool):
        number = answer
    else:
        told = "a choice's number from 0, its letter from A, or its text"
        raise BadRow(f"answer is {short(answer)}; it must be {told}")
    if not 0 <= number < len(choices):
        raise BadRow(f"answer is {short(answer)}, but there are {len(choices)} choices (numbers begin at 0)")
    return number
