"""Token classification: a tag for each word, as of entities (BIO) or parts of speech.

Cross-entropy of each word's first sub-word, or of all of them; the others are ignored (Devlin et al. 2019,
https://arxiv.org/abs/1810.04805, section 5.3). Long rows are read in windows that overlap.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float, Int
from numpy import ndarray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.data.columns import Column, Layout
from luthier.data.spool import Spool, batches, column
from luthier.errors import DataError, ModelError, RecipeError
from luthier.models import forward
from luthier.models.processor import Processor, load_tokenizer, tokenizer_of
from luthier.models.source import ModelSource
from luthier.tasks import Batch, Loss, Prediction, Row, Task
from luthier.tasks._labels import require_known
from luthier.tasks._sentences import read_spans, read_words, sentence_of, tags_of
from luthier.tasks._subwords import SHARED, Stretch, as_columns, room, stretches
from luthier.tasks._tags import (
    OUTSIDE,
    as_iob2,
    entities,
    guess_scheme,
    model_tags,
    pairs_of,
    require_legal,
    require_written,
    settled_types,
    strict_entities,
    types_of,
)
from luthier.tasks._tokens import IGNORED, padded, settled_length, stacked

DROPPED = -1
"""Stands for the first sub-word of a word that has none."""
TARGETS = {"tags", "spans"}
SCHEMES = {"bio": "iob2", "bilou": "bioes"}
"""Other names of a scheme."""


@dataclass(frozen=True)
class _Words(Batch):
    """Windows, and where their words stand."""

    first_subwords: list[list[int]]
    """Of each window's words the position of the first sub-word, padding counted, or DROPPED."""


class TokenClassification(Task):
    """Which tag belongs to each word of a text: its entities, or its parts of speech."""

    auto_model: ClassVar[str] = "AutoModelForTokenClassification"
    architectures: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    pipeline: ClassVar[str] = "token-classification"

    scheme: Literal["auto", "iob2", "bio", "iob1", "bioes", "bilou", "plain"] = "auto"
    """How the rows' tags mark entities; auto: what the training rows fit. plain: not at all, as parts of speech.
    The model itself always learns iob2, or plain tags."""
    labels: tuple[str, ...] = ()
    """Names of the tags that rows give as numbers, in the numbers' order; rows with named tags need none."""
    types: tuple[str, ...] | Literal["auto"] = "auto"
    """The types of entities, or the plain tags, in the model's order; auto: those of the training rows, sorted."""
    repair: bool = False
    """Whether illegal tags, as I-PER after O, are read as conlleval does; else rows that have them are refused."""
    label_subwords: Literal["first", "all"] = "first"
    """Which sub-words of a word learn its tag. The first one always answers for the word."""
    max_length: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"
    """Most tokens of a window; longer rows become several. auto: the model's limit, 512 at most."""
    stride: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Tokens that neighbouring windows share at least; auto: a quarter of max_length."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each target that is spread over all tags."""

    def layouts(self) -> tuple[Layout, ...]:
        spans = Column("spans", ("entities",), holds="anything", target=True)
        tags = Column("tags", ("ner_tags", "labels", "pos_tags", "upos_tags", "ner"), holds="anything", target=True)
        return (
            Layout((Column("text", ("sentence", "content")), spans), lambda row, _: read_spans(row)),
            Layout((Column("tokens", ("words",), holds="anything"), tags), lambda row, _: read_words(row, self.labels)),
        )

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that the model tells apart, in its order; only of a resolved task."""
        return model_tags(self.types, self.scheme)

    @property
    def metrics(self) -> Sequence[str | dict[str, Any]]:
        if self.scheme == "plain":
            return ("tag-accuracy", "loss")
        types = () if self.types == "auto" else self.types
        each = ({"kind": "entity-f1", "type": name} for name in types)
        return ("entity-f1", "entity-precision", "entity-recall", "tag-accuracy", "loss", *each)

    def resolve(self, facts: Facts) -> Self:
        resolved = self if facts.train is None else self._with_types(facts.train)
        length, stride = settled_length(self.max_length, facts), self.stride
        if stride == "auto" and length != "auto":
            stride = length // SHARED
        return resolved.model_copy(update={"max_length": length, "stride": stride})

    def _with_types(self, rows: Dataset) -> Self:
        """The scheme and the types, from the training rows."""
        pairs = pairs_of(_tags(rows))
        scheme = guess_scheme(pairs) if self.scheme == "auto" else SCHEMES.get(self.scheme, self.scheme)
        if scheme == "plain" and "spans" in rows.column_names:
            raise RecipeError("task.scheme: plain means nothing for spans, which mark entities; leave it out")
        types = settled_types({tag for pair in pairs for tag in pair} | set(self.labels), scheme, self.types)
        return self.model_copy(update={"scheme": scheme, "types": types})

    def require_targets(self, rows: Dataset, split: str) -> None:
        if not TARGETS & set(rows.column_names):
            return
        told: Any = {"num_rows": len(rows), "where": f"data.{split}"}
        if "tags" in rows.column_names:
            require_written(_tags(rows), self.scheme, **told)
        if "tags" in rows.column_names and not self.repair:
            words = column(rows, "tokens")
            require_legal(zip(words, _tags(rows), strict=True), self.scheme, **told)
        require_known((sorted(types_of(tags, self.scheme)) for tags in _tags(rows)), self.types, **told)

    def configuration(self) -> dict[str, Any]:
        numbered = dict(enumerate(self.tags))
        return {"id2label": numbered, "label2id": {tag: number for number, tag in numbered.items()}}

    def load_processor(self, source: ModelSource) -> Processor:
        tokenizer = load_tokenizer(source)
        if not tokenizer.is_fast:
            raise ModelError(
                f"model.name: {source.name} has a tokenizer that does not tell which sub-words are a word's "
                f"({type(tokenizer).__name__} is written in Python); take a model that has a tokenizer.json"
            )
        return tokenizer

    def prepare(self, rows: Dataset, processor: Processor, *, training: bool = False) -> Dataset:
        tokenizer, spool, number = tokenizer_of(processor), Spool(), 0
        capacity, stride = room(tokenizer, self.max_length, self.stride)
        for piece in batches(rows):
            sources, columns = list(_as_rows(piece)), defaultdict[str, list[Any]](list)
            numbers = [self._numbers(row) for row in sources] if TARGETS & piece.keys() else None
            for each in stretches([sentence_of(row) for row in sources], tokenizer, capacity, stride):
                columns["input_ids"].append(each.ids)
                columns["first_subwords"].append(np.where(each.sizes > 0, each.starts, DROPPED))
                columns["row"].append(number + each.row)
                columns["cut"].append(each.is_cut)
                if numbers is not None:
                    columns["tags"].append(numbers[each.row][each.words])
                    columns["target"].append(self._targets(each, columns["tags"][-1]))
            spool.extend(as_columns(columns, tokenizer))
            number += len(sources)
        return spool.finish().with_format("numpy")

    def _numbers(self, row: Row) -> list[int]:
        """The number of each word's tag."""
        tags, known = tags_of(row), {tag: number for number, tag in enumerate(self.tags)}
        tags = tags if self.scheme == "plain" else as_iob2(entities(tags), len(tags))
        unknown = next((tag for tag in tags if tag not in known), None)
        if unknown is not None:
            raise DataError(f"data: tag {unknown!r} is not among those of the training rows: {', '.join(known)}")
        return [known[tag] for tag in tags]

    def _targets(self, window: Stretch, numbers: Sequence[int]) -> Int[ndarray, " seq"]:
        """What each token of a window is to be told as, given the numbers of its words' tags."""
        targets = np.full(len(window.ids), IGNORED)
        for start, size, number in zip(window.starts, window.sizes, numbers, strict=True):
            if self.label_subwords == "all":
                targets[start : start + size] = self._inside(number)
            targets[start : start + min(size, 1)] = number
        return targets

    def _inside(self, number: int) -> int:
        """The tag of a word's later sub-words."""
        return number if self.scheme == "plain" else number + number % 2  # O, then B and I of each type

    def tally(self, prepared: Dataset) -> dict[str, int]:
        if "tags" not in prepared.column_names:
            return {}
        counts = Counter(chain.from_iterable(column(prepared, "tags")))
        if self.scheme == "plain":
            return {tag: counts[number] for number, tag in enumerate(self.tags)}
        return {name: counts[self.tags.index(f"B-{name}")] for name in self.types}

    def show(self, prepared: Row, processor: Processor) -> list[tuple[str, bool]]:
        tokens = tokenizer_of(processor).convert_ids_to_tokens(prepared["input_ids"].tolist())
        targets = prepared["target"].tolist() if "target" in prepared else [IGNORED] * len(tokens)
        return [
            (f"{token} " if target == IGNORED else f"{token}/{self.tags[target]} ", target != IGNORED)
            for token, target in zip(tokens, targets, strict=True)
        ]

    def collate(self, rows: Mapping[str, Any], processor: Processor) -> Batch:
        tokenizer = tokenizer_of(processor)
        inputs, num_tokens = padded(rows, tokenizer), int(rows["length"].sum())
        num_places, side = inputs["input_ids"].numel(), tokenizer.padding_side
        targets = stacked(rows["target"], IGNORED, side).long() if "target" in rows else None
        shifts = inputs["input_ids"].shape[1] - rows["length"] if side == "left" else np.zeros_like(rows["length"])
        firsts = [
            np.where(first == DROPPED, DROPPED, first + shift).tolist()
            for first, shift in zip(rows["first_subwords"], shifts, strict=True)
        ]
        return _Words(inputs, targets, num_tokens, num_places - num_tokens, firsts)

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        assert batch.targets is not None, "a loss needs targets"
        return _loss(self._logits(model, batch), batch.targets, self.label_smoothing)

    def predict(self, model: PreTrainedModel, batch: Batch, *, answers: bool = True) -> list[Prediction]:
        assert isinstance(batch, _Words)
        logits, tags = self._logits(model, batch), self.tags
        scores, chosen = (each.tolist() for each in logits.softmax(-1).max(-1))
        totals, counts = [0.0] * len(logits), [0.0] * len(logits)
        if batch.targets is not None:
            loss = _loss(logits, batch.targets)
            totals, counts = loss.total.tolist(), loss.count.tolist()
        return [
            Prediction(
                tuple(OUTSIDE if at == DROPPED else tags[chosen[row][at]] for at in firsts),
                tuple(0.0 if at == DROPPED else scores[row][at] for at in firsts),
                totals[row],
                counts[row],
            )
            for row, firsts in enumerate(batch.first_subwords)
        ]

    def _logits(self, model: PreTrainedModel, batch: Batch) -> Float[Tensor, "batch seq tags"]:
        logits = forward.head(model, forward.hidden(model, batch.inputs), batch.inputs)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def join(self, windows: Sequence[Prediction]) -> Prediction:
        return Prediction(
            tuple(chain.from_iterable(window.value for window in windows)),
            tuple(chain.from_iterable(window.scores for window in windows)),
            sum(window.loss for window in windows),
            sum(window.count for window in windows),
        )

    def references(self, prepared: Dataset) -> Sequence[Any]:
        found, tags = defaultdict[int, list[str]](list), self.tags
        for row, numbers in zip(column(prepared, "row"), column(prepared, "tags"), strict=True):
            found[row] += [tags[number] for number in numbers]
        return list(found.values())

    def describe(self, prediction: Prediction, row: Row) -> dict[str, Any]:
        sentence, scores = sentence_of(row), prediction.scores
        if self.scheme == "plain":
            words = (sentence.place(number, number) for number in range(len(sentence.words)))
            told = zip(prediction.value, words, scores, strict=True)
            return {"tags": [{"tag": tag, **place, "score": score} for tag, place, score in told]}
        return {
            "entities": [
                {
                    "type": name,
                    **sentence.place(first, last),
                    "score": fmean(scores[first : last + 1]),
                    **({"first_word": first, "last_word": last} if "tokens" in row else {}),
                }
                for name, first, last in strict_entities(prediction.value)
            ]
        }


def _tags(rows: Dataset) -> Iterator[list[str]]:
    """Each row's tags, as its file writes them."""
    for piece in batches(rows):
        yield from map(tags_of, _as_rows(piece))


def _as_rows(piece: Mapping[str, Sequence[Any]]) -> Iterator[Row]:
    return (dict(zip(piece, values, strict=True)) for values in zip(*piece.values(), strict=True))


def _loss(
    logits: Float[Tensor, "batch seq tags"], targets: Int[Tensor, "batch seq"], label_smoothing: float = 0.0
) -> Loss:
    """Each row's cross-entropy over the tokens that have a target."""
    how: Any = {"reduction": "none", "ignore_index": IGNORED, "label_smoothing": label_smoothing}
    total = F.cross_entropy(logits.transpose(1, 2), targets, **how).sum(-1)
    return Loss(total, (targets != IGNORED).sum(-1).to(total.dtype))
