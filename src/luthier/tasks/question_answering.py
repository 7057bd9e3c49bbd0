"""Extractive question answering: the span of a text that answers a question, or none.

Two scores for each token, for beginning and for ending the answer; the loss is the mean of both cross-entropies
over a window's tokens (Devlin et al. 2019, https://arxiv.org/abs/1810.04805). A long text becomes windows that
overlap; where one lacks the answer, the first token (the CLS) stands for that. transformers 5 has no pipeline of
this name any more (the hub's tag stays): a saved model is loaded with AutoModelForQuestionAnswering.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.component import Facts
from luthier.data.columns import Column, Layout
from luthier.data.spool import Spool, batches, column
from luthier.errors import DataError, ModelError, RecipeError
from luthier.models.processor import Processor, tokenizer_of
from luthier.tasks import Batch, Loss, Prediction, Row, Task
from luthier.tasks._spans import best_spans, kept, read_answers, windows_of
from luthier.tasks._tokens import columns_of, padded, settled_length, stacked

LONGEST = 384
"""Tokens of a window under `max_length: auto`, as in BERT's paper."""
STRIDE = 128
"""Tokens that two windows share under `stride: auto`, likewise."""


@dataclass(frozen=True)
class Windows(Batch):
    """Windows with what answers are read from; the tensors stay on the CPU."""

    starts: Int[Tensor, "batch seq"]
    ends: Int[Tensor, "batch seq"]
    """Each token's characters in the context; -1 where it is not of the context."""
    nowhere: Int[Tensor, " batch"]
    """The token that stands for no answer."""
    texts: Sequence[str]
    """The part of the context that each window covers."""

    def part(self, number: int, first: int, last: int) -> dict[str, Any]:
        """The text of some tokens of a window, and the character of the context that it starts at."""
        starts = self.starts[number]
        start, end = int(starts[first]), int(self.ends[number, last])
        begins = int(starts[starts >= 0][0])
        text = self.texts[number][start - begins : end - begins]
        blanks = len(text) - len(text.lstrip())  # in some vocabularies a word's token holds the blank before it
        return {"text": text.strip(), "start": start + blanks}


@dataclass(frozen=True, kw_only=True)
class Answer(Prediction):
    """An answer; `value` is its text, empty where there is none."""

    text: str
    """The best span, be it the answer or not."""
    start: int
    """Where it begins in the context, in characters."""
    best: float
    """The best span's score: its logits summed."""
    nothing: float
    """The same of the token that stands for no answer."""
    total: float
    """Logarithm of the sum of exp(score) over all spans."""


class QuestionAnswering(Task):
    """Which words of a text answer a question."""

    auto_model: ClassVar[str] = "AutoModelForQuestionAnswering"
    architectures: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    pipeline: ClassVar[str] = "question-answering"
    sample: ClassVar[Any] = {"question": "Who asks?", "context": "Somebody asks."}

    no_answer: bool | Literal["auto"] = "auto"
    """Whether a question may have no answer (SQuAD 2); auto: where training rows have such."""
    max_length: Annotated[int, Field(ge=32)] | Literal["auto"] = "auto"
    """Most tokens of a window: the question and a part of the text. auto: the model's limit, 384 at most."""
    stride: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Tokens of the text that two windows share, a third of max_length at most. auto: 128, where that allows it."""
    max_answer_length: Annotated[int, Field(ge=1)] = 30
    """Most tokens of an answer that is given."""

    def layouts(self) -> tuple[Layout, ...]:
        columns = (
            Column("question", ("query",)),
            Column("context", ("passage", "paragraph", "document", "article", "text")),
            Column("answers", ("answer", "answer_text", "target", "label"), holds="anything", target=True),
            Column("answer_start", ("start",), required=False, holds="anything", target=True),
        )
        return (Layout(columns, _read),)

    @property
    def metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("answer-f1", "exact-match", "loss")

    def resolve(self, facts: Facts) -> Self:
        max_length = settled_length(self.max_length, facts, longest=LONGEST)
        settled: dict[str, Any] = {"max_length": max_length}
        if max_length != "auto":
            settled["stride"] = self._settled_stride(max_length)
        if self.no_answer == "auto" and facts.train is not None:
            settled["no_answer"] = any(value == kept([]) for value in column(facts.train, "answers"))
        return self.model_copy(update=settled)

    def _settled_stride(self, max_length: int) -> int:
        most = max_length // 3
        if self.stride == "auto":
            return min(STRIDE, most)
        if self.stride > most:
            raise RecipeError(f"task.stride: {self.stride}, but a third of task.max_length, {most}, is the most")
        return self.stride

    def require_targets(self, rows: Dataset, split: str) -> None:
        if "answers" not in rows.column_names:
            return
        num_without = sum(value == kept([]) for value in column(rows, "answers"))
        if num_without == len(rows):
            raise DataError(f"data.{split}: none of its {num_without} questions has an answer")
        if num_without and self.no_answer is False:
            raise DataError(
                f"data.{split}: {num_without} of {len(rows)} questions have no answer, which this task does not give; "
                "leave them out, or say task.no_answer=true and train on such questions too"
            )

    def configuration(self) -> dict[str, Any]:
        return {"num_labels": 2}

    def fit(self, model: PreTrainedModel, processor: Processor) -> None:
        if not tokenizer_of(processor).is_fast:
            kind = type(processor).__name__
            raise ModelError(f"model.name: its {kind} does not tell where in a text a token stands; take another model")

    def prepare(self, rows: Dataset, processor: Processor, *, training: bool = False) -> Dataset:
        tokenizer, spool, num_rows = tokenizer_of(processor), Spool(), 0
        assert self.max_length != "auto" and self.stride != "auto", "only a resolved task prepares"
        _require_short(rows, tokenizer, self.max_length // 2)
        for piece in batches(rows):
            tokens = tokenizer(
                piece["question"],
                piece["context"],
                truncation="only_second",
                max_length=self.max_length,
                stride=self.stride,
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
                return_attention_mask=True,
            )
            columns = columns_of(tokens) | windows_of(tokens, piece, cls=tokenizer.cls_token_id)
            columns["row"] = [num_rows + number for number in tokens["overflow_to_sample_mapping"]]
            spool.extend(columns)
            num_rows += len(piece["question"])
        return spool.finish().with_format("numpy")

    def collate(self, rows: Mapping[str, Any], processor: Processor) -> Batch:
        tokenizer = tokenizer_of(processor)
        inputs, side = padded(rows, tokenizer), tokenizer.padding_side
        num_tokens, longest = int(rows["length"].sum()), inputs["input_ids"].shape[1]
        before = torch.as_tensor(longest - rows["length"] if side == "left" else 0 * rows["length"])
        targets = torch.as_tensor(rows["target"]) + before[:, None] if "target" in rows else None
        return Windows(
            inputs,
            targets,
            num_tokens,
            inputs["input_ids"].numel() - num_tokens,
            starts=stacked(rows["starts"], -1, side),
            ends=stacked(rows["ends"], -1, side),
            nowhere=torch.as_tensor(rows["nowhere"]) + before,
            texts=list(map(str, rows["text"])),
        )

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        assert batch.targets is not None, "a loss needs targets"
        return _loss(*_logits(model, batch), batch.targets)

    def predict(self, model: PreTrainedModel, batch: Batch, *, answers: bool = True) -> list[Prediction]:
        assert isinstance(batch, Windows)
        start, end = _logits(model, batch)
        totals = counts = [0.0] * batch.num_rows
        if batch.targets is not None:
            loss = _loss(start, end, batch.targets)
            totals, counts = loss.total.tolist(), loss.count.tolist()
        allowed = (batch.starts >= 0).to(start.device)
        spans = [each.tolist() for each in best_spans(start, end, allowed, self.max_answer_length)]
        nowhere = batch.nowhere.to(start.device)[:, None]
        nothing = (start.gather(1, nowhere) + end.gather(1, nowhere))[:, 0].tolist()
        found: list[Prediction] = []
        for number, (first, last, best, total) in enumerate(zip(*spans, strict=True)):
            told = {**batch.part(number, first, last), "best": best, "nothing": nothing[number], "total": total}
            found.append(self._decided(told, totals[number], counts[number]))
        return found

    def join(self, windows: Sequence[Prediction]) -> Prediction:
        answers = [each for each in windows if isinstance(each, Answer)]
        best = max(answers, key=lambda answer: answer.best)
        nothing = min(answer.nothing for answer in answers)
        total = float(np.logaddexp.reduce([answer.total for answer in answers]))
        told = {"text": best.text, "start": best.start, "best": best.best, "nothing": nothing, "total": total}
        return self._decided(told, sum(each.loss for each in windows), sum(each.count for each in windows))

    def _decided(self, told: dict[str, Any], loss: float, count: float) -> Answer:
        """The best span, or none where that scores higher; with the probability that the model gives it."""
        best, total = told["best"], told["total"]
        is_nothing = bool(self.no_answer) and told["nothing"] > best
        if self.no_answer:
            total = float(np.logaddexp(total, told["nothing"]))
        probability = float(np.exp((told["nothing"] if is_nothing else best) - total))
        return Answer("" if is_nothing else told["text"], (probability,), loss, count, **told)

    def references(self, prepared: Dataset) -> Sequence[Any]:
        texts = dict(zip(prepared["row"][:].tolist(), map(str, prepared["acceptable"][:]), strict=True))
        return [json.loads(each) for each in texts.values()]

    def show(self, prepared: Row, processor: Processor) -> list[tuple[str, bool]]:
        first, last = prepared.get("target", (0, -1))
        ids = prepared["input_ids"]
        parts = ((ids[:first], False), (ids[first : last + 1], True), (ids[last + 1 :], False))
        return [(str(tokenizer_of(processor).decode(part)), is_answer) for part, is_answer in parts if len(part)]

    def describe(self, prediction: Prediction, row: Row) -> dict[str, Any]:
        assert isinstance(prediction, Answer)
        start = prediction.start if prediction.value else None
        end = prediction.start + len(prediction.text) if prediction.value else None
        return {"answer": prediction.value, "start": start, "end": end, "score": prediction.scores[0]}


def _read(row: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """The row with its answers as one text."""
    texts = {name: row[name] for name in ("question", "context")}
    if "answers" not in row:
        return texts
    return {**texts, "answers": kept(read_answers(row["answers"], row["context"], row.get("answer_start")))}


def _require_short(rows: Dataset, tokenizer: PreTrainedTokenizerBase, most: int) -> None:
    """Raise DataError where questions leave too little of a window to the text."""
    long: list[str] = []
    for piece in batches(rows, ["question"]):
        lengths = map(len, tokenizer(piece["question"], add_special_tokens=False)["input_ids"])
        long += [text for text, length in zip(piece["question"], lengths, strict=True) if length > most]
    if long:
        raise DataError(
            f"data: {len(long)} of {len(rows)} questions have more than {most} tokens, half of task.max_length; "
            f"shorten them or leave them out; the first is {long[0][:80]!r}"
        )


def _logits(model: PreTrainedModel, batch: Batch) -> tuple[Float[Tensor, "batch seq"], Float[Tensor, "batch seq"]]:
    """Each token's score as the answer's first and as its last; padding is neither."""
    answer = model(**batch.inputs)
    padding = batch.inputs["attention_mask"] == 0
    start, end = (
        logits.to(torch.promote_types(logits.dtype, torch.float32)).masked_fill(padding, -torch.inf)
        for logits in (answer.start_logits, answer.end_logits)
    )
    return start, end


def _loss(start: Float[Tensor, "batch seq"], end: Float[Tensor, "batch seq"], targets: Int[Tensor, "batch 2"]) -> Loss:
    first = F.cross_entropy(start, targets[:, 0], reduction="none")
    last = F.cross_entropy(end, targets[:, 1], reduction="none")
    return Loss((first + last) / 2, torch.ones_like(first))
