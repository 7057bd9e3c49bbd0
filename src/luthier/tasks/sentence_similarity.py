"""Sentence similarity: texts as vectors, of which those are near that belong together.

Rows are pairs with a score, pairs that belong together, triplets with a text that does not, or texts with labels. What
is saved is a sentence-transformers folder. The losses are in `_similarity.py`; with `dimensions` the beginnings of a
vector serve as shorter ones (Kusupati et al. 2022, https://arxiv.org/abs/2205.13147).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float, Shaped
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.data.columns import Layout
from luthier.data.spool import Spool, batches, column
from luthier.errors import DataError, RecipeError
from luthier.models import forward, sentences
from luthier.models.processor import Processor, tokenizer_of
from luthier.models.sentences import Pooling, Sentences
from luthier.tasks import Batch, Loss, Prediction, Row, Task
from luthier.tasks._labels import as_labels
from luthier.tasks._retrieval import found
from luthier.tasks._similarity import Compared, compared_by_label, compared_by_text, contrast, pairwise, squared
from luthier.tasks._texts import LAYOUTS, collated, kind_of, listed, text_numbers, tokens_of
from luthier.tasks._tokens import limit_of, settled_length


class SentenceSimilarity(Task):
    """How alike texts are, and which of many belongs to one."""

    auto_model: ClassVar[str] = "AutoModel"
    architectures: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    pipeline: ClassVar[str] = "feature-extraction"
    chosen_last: ClassVar[bool] = True

    rows: Literal["auto", "scored", "pairs", "triplets", "labelled"] = "auto"
    """What a row is: two texts with a score; two that belong together; an anchor, a text that belongs to it and one
    that does not; a text with its label. auto: what the training rows' columns are."""
    objective: Literal["auto", "squared", "contrast"] = "auto"
    """squared: similarities are to be 1 or 0, or the score; contrast: the right text is to be told from the others of
    the batch. auto: contrast for pairs and triplets, else squared."""
    temperature: Annotated[float, Field(gt=0)] = 0.05
    """What similarities are divided by under contrast: the smaller, the more the nearest wrong texts count."""
    hard: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each text's pairs that count, the hardest ones."""
    similarity: Literal["cosine", "dot"] = "cosine"
    """How vectors are compared; dot: longer ones count more, for contrast only."""
    score_range: tuple[float, float] | Literal["auto"] = "auto"
    """The scores of texts that have nothing in common and of equal ones; auto: 0 and 1, or the lowest and the highest
    where they lie beyond."""
    pooling: Pooling | Literal["auto"] = "auto"
    """How tokens become one vector; auto: as the model's folder says, else the mean, of a decoder the last token."""
    normalize: bool | Literal["auto"] = "auto"
    """Whether vectors are brought to length 1; auto: as the model's folder says."""
    dimensions: tuple[Annotated[int, Field(gt=0)], ...] = ()
    """Lengths to which a vector may be cut off: each learns too (Matryoshka). Empty: the whole vector alone."""
    max_length: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"
    """Most tokens of a text; longer ones lose their end. auto: as the model's folder says, 512 at most."""

    @property
    def couples_rows(self) -> bool:
        return self.rows != "scored"

    def layouts(self) -> tuple[Layout, ...]:
        return tuple(LAYOUTS[kind] for kind in sorted(LAYOUTS, key=lambda kind: kind != self.rows))

    @property
    def metrics(self) -> Sequence[str | dict[str, Any]]:
        if self.rows == "scored":
            return ("spearman", "pearson", "loss")
        recall = () if self.rows == "labelled" else ({"kind": "recall-at", "k": k} for k in (1, 5, 10))
        return ("mrr", "ndcg", *recall, "loss")

    def configuration(self) -> dict[str, Any]:
        return {}

    def resolve(self, facts: Facts) -> Self:
        resolved = self if facts.train is None else self._of_rows(facts.train)
        if facts.model is None:
            return resolved
        usual, width = sentences.usual(facts.model), sentences.width_of(facts.model)
        if too_long := [each for each in self.dimensions if each > width]:
            raise RecipeError(f"task.dimensions: {too_long[0]}, but the model's vectors have {width}")
        limit = settled_length(self.max_length, facts)
        if self.max_length == "auto" and usual.max_length and limit != "auto":
            limit = min(limit, usual.max_length)
        return resolved.model_copy(
            update={
                "pooling": usual.pooling if self.pooling == "auto" else self.pooling,
                "normalize": usual.normalize if self.normalize == "auto" else self.normalize,
                "max_length": limit,
            }
        )

    def _of_rows(self, rows: Dataset) -> Self:
        """What the training rows tell.

        Raises DataError where they are of another kind, RecipeError where a setting means nothing for them.
        """
        kind = kind_of(rows) if self.rows == "auto" else self.rows
        if kind is None or kind != kind_of(rows):
            has = f"have the columns {', '.join(rows.column_names)}"
            raise DataError(f"data.train: the rows {has}, and cannot teach {kind or 'anything'} ({listed()})")
        usual = "contrast" if kind in ("pairs", "triplets") else "squared"
        objective = usual if self.objective == "auto" else self.objective
        if kind == "scored" and (objective == "contrast" or self.hard < 1):
            name = "hard" if self.hard < 1 else "objective"
            raise RecipeError(f"task.{name}: scored pairs have no wrong texts to be told from; leave it out")
        if objective == "squared" and self.temperature != type(self).model_fields["temperature"].default:
            raise RecipeError("task.temperature: is for task.objective=contrast; leave it out")
        if objective == "squared" and self.similarity == "dot":
            raise RecipeError("task.similarity: dot has no scale on which 1 is alike; say cosine")
        span = self.score_range
        if span != "auto" and (kind != "scored" or span[0] >= span[1]):
            raise RecipeError("task.score_range: a lower and a higher score, of scored pairs; or leave it out")
        if kind == "scored" and span == "auto":
            scores = np.fromiter(column(rows, "score"), float)
            span = (min(0.0, float(scores.min())), max(1.0, float(scores.max())))
        return self.model_copy(update={"rows": kind, "objective": objective, "score_range": span})

    def require_targets(self, rows: Dataset, split: str) -> None:
        kind = kind_of(rows)
        if kind is not None and kind != self.rows:
            raise DataError(f"data.{split}: its rows are {kind}, but the training rows are {self.rows} ({listed()})")

    def prepare(self, rows: Dataset, processor: Processor, *, training: bool = False) -> Dataset:
        tokenizer, spool = tokenizer_of(processor), Spool()
        limit, kind, known = limit_of(self.max_length, tokenizer), kind_of(rows), dict[str, int]()
        for piece in batches(rows):
            columns = tokens_of(piece, tokenizer, limit)
            if kind == "scored":
                columns["target"] = [self._share(score) for score in piece["score"]]
            elif kind == "labelled":
                labels = ("\0".join(as_labels(label, None)) for label in piece["label"])
                columns["target"] = [known.setdefault(label, len(known)) for label in labels]
            elif kind is not None:
                columns["target"] = text_numbers(piece)
            spool.extend(columns)
        return spool.finish().with_format("numpy")

    def _share(self, score: float) -> float:
        """A score on the scale of the similarity."""
        low, high = (0.0, 1.0) if self.score_range == "auto" else self.score_range
        return (score - low) / (high - low)

    def collate(self, rows: Mapping[str, Any], processor: Processor) -> Batch:
        inputs, num_tokens = collated(rows, tokenizer_of(processor)), int(np.sum(rows["length"]))
        targets = torch.as_tensor(np.asarray(rows["target"])) if "target" in rows else None
        return Batch(inputs, targets, num_tokens, inputs["input_ids"].numel() - num_tokens)

    def embed(self, model: PreTrainedModel, batch: Batch) -> Float[Tensor, "rows texts width"]:
        inputs = {name: each.flatten(0, -2) for name, each in batch.inputs.items()}
        assert self.pooling != "auto" and self.normalize != "auto", "a task must be resolved before it is used"
        how = Sentences(self.pooling, self.normalize)
        vectors = how.embed(forward.hidden(model, inputs)["last_hidden_state"], inputs["attention_mask"])
        states: Tensor = vectors.unflatten(0, (batch.num_rows, -1))
        return states

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        assert batch.targets is not None, "a loss needs targets"
        return self.relate(self.embed(model, batch), batch.targets)

    def relate(self, states: Float[Tensor, "rows texts width"], targets: Shaped[Tensor, "rows ..."]) -> Loss:
        with torch.autocast(states.device.type, enabled=False):
            losses = [self._loss(states[..., :width], targets) for width in self.dimensions or (None,)]
        return Loss(torch.stack([loss.total for loss in losses]).mean(0), losses[0].count)

    def _loss(self, states: Float[Tensor, "rows texts width"], targets: Shaped[Tensor, "rows ..."]) -> Loss:
        if self.rows == "scored":
            total = (pairwise(states[:, 0], states[:, 1], "cosine") - targets.to(states.dtype)) ** 2
            return Loss(total, torch.ones_like(total))
        return self._ask(states, targets, slice(None))[1]

    def _ask(
        self, states: Float[Tensor, "rows texts width"], targets: Shaped[Tensor, "rows ..."], part: slice
    ) -> tuple[Compared, Loss]:
        """A part of the rows beside all of them."""
        compare = compared_by_label if self.rows == "labelled" else compared_by_text
        compared = compare(states, targets, part, self.similarity)
        if self.objective == "contrast":
            return compared, contrast(compared, self.temperature, self.hard)
        return compared, squared(compared, self.hard)

    def predict(self, model: PreTrainedModel, batch: Batch, *, answers: bool = True) -> list[Prediction]:
        states = self.embed(model, batch)
        if states.shape[1] == 1:
            vectors = states[:, 0].cpu()
            if batch.targets is None:
                return [Prediction(None, tuple(vector)) for vector in vectors.tolist()]
            return [Prediction(vector[None]) for vector in vectors]
        alike = pairwise(states[:, 0], states[:, 1], self.similarity).tolist()
        if batch.targets is None:
            return [Prediction(each) for each in alike]
        if self.rows == "scored":
            totals = self._loss(states, batch.targets).total.tolist()
            return [Prediction(each, (), total, 1.0) for each, total in zip(alike, totals, strict=True)]
        return [Prediction(row, (each,)) for row, each in zip(states.cpu(), alike, strict=True)]

    def finish(self, predictions: list[Prediction], rows: Dataset, processor: Processor) -> list[Prediction]:
        """Rows that are judged among each other have their vectors as values till here."""
        if not predictions or not isinstance(predictions[0].value, Tensor):
            return predictions
        states, targets = torch.stack([each.value for each in predictions]), torch.as_tensor(rows["target"][:])
        return list(found(predictions, states, targets, self._ask))

    def describe(self, prediction: Prediction, row: Row) -> dict[str, Any]:
        if isinstance(prediction.value, float):
            return {"similarity": prediction.value}
        if prediction.value is None:
            return {"embedding": list(prediction.scores)}
        return {"similarity": prediction.scores[0]} if prediction.scores else {}

    def write_beside(self, model: PreTrainedModel, folder: Path) -> None:
        assert self.pooling != "auto" and self.normalize != "auto" and self.max_length != "auto"
        how = Sentences(self.pooling, self.normalize, self.max_length)
        sentences.write(folder, how, sentences.width_of(model), similarity=self.similarity)
