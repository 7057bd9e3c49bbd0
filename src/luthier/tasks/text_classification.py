"""Text classification: one label, several labels, or a number for a text or a pair of texts.

Single-label: cross-entropy, with label smoothing (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567) and
class weights. Multi-label: a binary cross-entropy per label. Regression: squared error.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.data.columns import Column, Layout
from luthier.data.spool import Spool, batches, column
from luthier.errors import DataError, RecipeError
from luthier.models import forward
from luthier.models.processor import Processor, tokenizer_of
from luthier.tasks import Batch, Loss, Prediction, Row, Task
from luthier.tasks._labels import (
    as_labels,
    as_number,
    guess_problem,
    in_order,
    number_of,
    require_known,
    require_numbers,
    require_single,
    require_usable,
)
from luthier.tasks._tokens import columns_of, limit_of, padded, settled_length, was_cut

UNUSED = {
    "single-label": ("label_separator", "threshold"),
    "regression": ("label_separator", "threshold", "labels", "label_smoothing", "class_weights"),
}
"""Settings that would change nothing."""


class TextClassification(Task):
    """Which label, which labels, or which number belongs to a text."""

    auto_model: ClassVar[str] = "AutoModelForSequenceClassification"
    architectures: ClassVar[tuple[str, ...]] = ("encoder", "decoder", "encoder-decoder")
    pipeline: ClassVar[str] = "text-classification"

    problem: Literal["auto", "single-label", "multi-label", "regression"] = "auto"
    """auto: lists of labels are multi-label, numbers with a fraction a regression, all else single-label."""
    labels: tuple[str, ...] | Literal["auto"] = "auto"
    """The labels, in the model's order; auto: those of the training rows, sorted."""
    label_separator: Annotated[str, Field(min_length=1)] | None = None
    """What separates several labels in one field, as in `sport|tech`; for files that have no lists."""
    max_length: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"
    """Most tokens of a row; longer texts lose their end. auto: the model's limit, 512 at most."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each target that is spread over all labels."""
    class_weights: tuple[Annotated[float, Field(gt=0)], ...] | Literal["none", "auto"] = "none"
    """Weight of each label in the loss; auto: rare labels weigh more, rows / (labels * rows of the label)."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Multi-label: probability from which a label is chosen."""

    def layouts(self) -> tuple[Layout, ...]:
        texts = ("sentence", "sentence1", "content", "body", "review", "document", "message", "comment", "premise")
        pairs = ("sentence2", "hypothesis", "text2", "question2")
        labels = ("labels", "class", "category", "target", "topic", "sentiment", "score", "rating", "y")
        columns = (
            Column("text", texts),
            Column("text_pair", pairs, required=False),
            Column("label", labels, holds="label", target=True),
        )
        return (Layout(columns),)

    @property
    def metrics(self) -> Sequence[str | dict[str, Any]]:
        if self.problem == "regression":
            return ("spearman", "mse", "loss")
        averages = ("micro", "weighted")
        f1 = ({"kind": "f1"}, *({"kind": "f1", "average": average} for average in averages))
        each = ({"kind": "f1", "label": name, "index": i} for i, name in enumerate(self.labels))
        others = ("precision", "recall", "auroc", "average-precision", "loss")
        matthews = ("matthews",) if self.problem == "single-label" else ()
        return (*f1, "accuracy", *others, *matthews, *each)

    def resolve(self, facts: Facts) -> Self:
        resolved = self if facts.train is None else self._with_labels(facts.train)
        return resolved.model_copy(update={"max_length": settled_length(self.max_length, facts)})

    def _with_labels(self, rows: Dataset) -> Self:
        """The problem, the labels and their weights, from the training rows."""
        problem = guess_problem(self._labels_of(rows)) if self.problem == "auto" else self.problem
        self._refuse_unused(problem)
        if problem == "regression":
            return self.model_copy(update={"problem": problem, "labels": ()})
        counts = Counter(label for labels in self._labels_of(rows) for label in labels)
        labels = in_order(counts) if self.labels == "auto" else self.labels
        require_usable(labels, counts, problem, len(rows))
        weights = self.class_weights
        if weights == "auto":
            weights = tuple(counts.total() / (len(labels) * max(1, counts[label])) for label in labels)
        elif weights != "none" and len(weights) != len(labels):
            found = f"{len(weights)} weights for {len(labels)} labels"
            raise DataError(f"task.class_weights: {found}: {', '.join(labels)}")
        return self.model_copy(update={"problem": problem, "labels": labels, "class_weights": weights})

    def _labels_of(self, rows: Dataset) -> Iterator[list[str]]:
        return (as_labels(value, self.label_separator) for value in column(rows, "label"))

    def require_targets(self, rows: Dataset, split: str) -> None:
        if "label" not in rows.column_names:
            return
        told: Any = {"num_rows": len(rows), "where": f"data.{split}"}
        if self.problem == "regression":
            require_numbers(column(rows, "label"), **told)
            return
        if self.problem == "single-label":
            require_single(self._labels_of(rows), **told)
        require_known(self._labels_of(rows), self.labels, **told)

    def configuration(self) -> dict[str, Any]:
        if self.problem == "regression":
            return {"num_labels": 1, "problem_type": "regression"}
        kind = "multi_label_classification" if self.problem == "multi-label" else "single_label_classification"
        numbered = dict(enumerate(self.labels))
        return {"id2label": numbered, "label2id": {v: k for k, v in numbered.items()}, "problem_type": kind}

    def prepare(self, rows: Dataset, processor: Processor, *, training: bool = False) -> Dataset:
        tokenizer, spool = tokenizer_of(processor), Spool()
        limit = limit_of(self.max_length, tokenizer)
        for piece in batches(rows):
            tokens = tokenizer(piece["text"], piece.get("text_pair"), truncation=True, max_length=limit)
            columns = {**columns_of(tokens), "cut": was_cut(tokens)}
            if "label" in piece:
                columns["target"] = [self._target(value) for value in piece["label"]]
            spool.extend(columns)
        return spool.finish().with_format("numpy")

    def tally(self, prepared: Dataset) -> dict[str, int]:
        if self.problem == "regression":
            return {}
        targets = np.asarray(prepared["target"][:])
        counts = targets.sum(0) if targets.ndim == 2 else np.bincount(targets, minlength=len(self.labels))
        return {label: int(count) for label, count in zip(self.labels, counts, strict=True)}

    def collate(self, rows: Mapping[str, Any], processor: Processor) -> Batch:
        inputs = padded(rows, tokenizer_of(processor))
        num_tokens = int(rows["length"].sum())
        dtype = torch.long if self.problem == "single-label" else torch.float32
        targets = torch.as_tensor(rows["target"], dtype=dtype) if "target" in rows else None
        return Batch(inputs, targets, num_tokens, inputs["input_ids"].numel() - num_tokens)

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        assert batch.targets is not None, "a loss needs targets"
        return self._loss(self._logits(model, batch), batch.targets, weighted=True)

    def predict(self, model: PreTrainedModel, batch: Batch, *, answers: bool = True) -> list[Prediction]:
        logits = self._logits(model, batch)
        values, scores = self._decide(logits)
        totals, counts = [0.0] * len(logits), [0.0] * len(logits)
        if batch.targets is not None:
            loss = self._loss(logits, batch.targets, weighted=False)
            totals, counts = loss.total.tolist(), loss.count.tolist()
        return [Prediction(*row) for row in zip(values, scores, totals, counts, strict=True)]

    def describe(self, prediction: Prediction, row: Row) -> dict[str, Any]:
        if self.problem == "regression":
            return {"value": prediction.value}
        scores = dict(zip(self.labels, prediction.scores, strict=True))
        if isinstance(prediction.value, tuple):
            return {"labels": [self.labels[i] for i in prediction.value], "scores": scores}
        return {"label": self.labels[int(prediction.value)], "score": max(prediction.scores), "scores": scores}

    def _logits(self, model: PreTrainedModel, batch: Batch) -> Float[Tensor, "batch labels"]:
        logits = forward.head(model, forward.hidden(model, batch.inputs), batch.inputs)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _decide(self, logits: Float[Tensor, "batch labels"]) -> tuple[list[Any], list[tuple[float, ...]]]:
        """Each row's answer, and each label's probability."""
        if self.problem == "regression":
            return logits[:, 0].tolist(), [()] * len(logits)
        scores = logits.sigmoid() if self.problem == "multi-label" else logits.softmax(-1)
        rows = [tuple(row) for row in scores.tolist()]
        if self.problem == "multi-label":
            return [tuple(i for i, score in enumerate(row) if score >= self.threshold) for row in rows], rows
        return scores.argmax(-1).tolist(), rows

    def _loss(self, logits: Float[Tensor, "batch labels"], targets: Tensor, *, weighted: bool) -> Loss:
        if self.problem == "regression":
            total = (logits[:, 0] - targets) ** 2
            return Loss(total, torch.ones_like(total))
        weights = None
        if weighted and self.class_weights != "none":
            weights = logits.new_tensor(self.class_weights)
        smoothing = self.label_smoothing if weighted else 0.0
        if self.problem == "multi-label":
            smooth = targets.to(logits.dtype) * (1 - smoothing) + smoothing / 2
            total = F.binary_cross_entropy_with_logits(logits, smooth, weights, reduction="none").sum(-1)
            return Loss(total, torch.full_like(total, logits.shape[-1]))
        total = F.cross_entropy(logits, targets, weights, reduction="none", label_smoothing=smoothing)
        return Loss(total, torch.ones_like(total) if weights is None else weights[targets])

    def _refuse_unused(self, problem: str) -> None:
        for name in UNUSED.get(problem, ()):
            if getattr(self, name) not in (type(self).model_fields[name].default, ()):
                raise RecipeError(f"task.{name}: means nothing for a {problem} problem; leave it out")

    def _target(self, value: Any) -> int | float | list[float]:
        """A label as the loss wants it: its number, a number, or a 0 / 1 for each label."""
        if self.problem == "regression":
            return as_number(value)
        numbers = [number_of(label, self.labels) for label in as_labels(value, self.label_separator)]
        if self.problem == "multi-label":
            return [float(i in numbers) for i in range(len(self.labels))]
        if len(numbers) != 1:
            raise DataError(f"data: a row has {len(numbers)} labels, {value!r}, but this is a single-label problem")
        return numbers[0]
