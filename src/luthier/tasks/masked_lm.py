"""Masked language modelling: hidden words are found again, which fits a model to a field's texts (Devlin et al. 2019,
https://arxiv.org/abs/1810.04805; continued on such texts, Gururangan et al. 2020, https://arxiv.org/abs/2004.10964).

A cross-entropy over the drawn tokens alone: 80 % of them are masked, 10 % become any token, 10 % stay. In training
they are drawn anew at every step (Liu et al. 2019, https://arxiv.org/abs/1907.11692), from torch's generator as
dropout is; in evaluation from the tokens themselves, so that losses can be compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow
import torch
from datasets import Dataset
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.component import Facts
from luthier.data.columns import Column, Layout
from luthier.data.spool import Spool, batches
from luthier.errors import ModelError
from luthier.models import forward
from luthier.models.processor import Processor, tokenizer_of
from luthier.tasks import Batch, Loss, Prediction, Row, Task
from luthier.tasks._language import token_loss
from luthier.tasks._tokens import IDS, IGNORED, columns_of, limit_of, padded, settled_length, stacked

MASKED, REPLACED = 0.8, 0.1
"""Of drawn tokens those that are masked, and those that become any other; the rest stays, as the paper has it."""
NUM_FILLINGS = 5
"""Tokens that are told for each mask of a text."""


@dataclass(frozen=True)
class Maskable(Batch):
    """Rows of tokens some of which may be drawn; the tensors stay on the CPU, so that a draw is the same anywhere."""

    units: Int[Tensor, "batch seq"]
    """Tokens of one number are drawn together: a column of the row that is theirs; -1 where one is never drawn."""
    lengths: Int[Tensor, " batch"]
    """Real tokens of each row."""
    seeds: Sequence[int]
    """What evaluation draws each row's tokens by."""
    tokenizer: PreTrainedTokenizerBase


class MaskedLM(Task):
    """Which tokens were hidden in a text; learnt from texts alone."""

    auto_model: ClassVar[str] = "AutoModelForMaskedLM"
    architectures: ClassVar[tuple[str, ...]] = ("encoder",)
    pipeline: ClassVar[str] = "fill-mask"
    sample: ClassVar[Any] = "A text with a [MASK] in it."

    share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of a text's tokens that is drawn; one of each window at least."""
    whole_words: bool = False
    """Draw whole words rather than parts of them, which makes the task harder."""
    max_length: Annotated[int, Field(ge=8)] | Literal["auto"] = "auto"
    """Most tokens of a window; longer texts become several. auto: the model's limit, 512 at most."""

    def layouts(self) -> tuple[Layout, ...]:
        names = ("content", "body", "document", "article", "sentence")
        return (Layout((Column("text", names),)),)

    @property
    def metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("perplexity", "token-accuracy", "loss")

    def resolve(self, facts: Facts) -> Self:
        return self.model_copy(update={"max_length": settled_length(self.max_length, facts)})

    def configuration(self) -> dict[str, Any]:
        return {}

    def fit(self, model: PreTrainedModel, processor: Processor) -> None:
        tokenizer = tokenizer_of(processor)
        if tokenizer.mask_token_id is None:
            raise ModelError("model.name: its tokenizer has no mask token, so the model cannot have learnt to fill one")
        if not tokenizer.is_fast:
            kind = type(tokenizer).__name__
            raise ModelError(f"model.name: its {kind} does not cut long texts into windows; take another model")

    def prepare(self, rows: Dataset, processor: Processor, *, training: bool = False) -> Dataset:
        tokenizer, spool, num_rows = tokenizer_of(processor), Spool(), 0
        limit = limit_of(self.max_length, tokenizer)
        never = np.array(tokenizer.all_special_ids)
        for piece in batches(rows):
            tokens = tokenizer(piece["text"], truncation=True, max_length=limit, return_overflowing_tokens=True)
            columns = columns_of(tokens)
            units = [
                np.where(np.isin(ids, never), -1, self._units(tokens.word_ids(number)))
                for number, ids in enumerate(tokens["input_ids"])
            ]
            columns["units"] = pyarrow.array(units, IDS)
            columns["seed"] = [_seed(ids) for ids in tokens["input_ids"]]
            columns["row"] = [num_rows + number for number in tokens["overflow_to_sample_mapping"]]
            columns["cut"] = [False] * len(units)
            spool.extend(columns)
            num_rows += len(piece["text"])
        return spool.finish().with_format("numpy")

    def _units(self, words: Sequence[int | None]) -> Int[np.ndarray, " seq"]:
        """What is drawn together, numbered from 0: the tokens of a word, or each alone."""
        if not self.whole_words:
            return np.arange(len(words))
        return np.unique([-1 if word is None else word for word in words], return_inverse=True)[1]

    def collate(self, rows: Mapping[str, Any], processor: Processor) -> Batch:
        tokenizer = tokenizer_of(processor)
        inputs, side = padded(rows, tokenizer), tokenizer.padding_side
        units = stacked(rows["units"], -1, side).long()
        if side == "left":
            units += torch.where(units >= 0, units.shape[1] - torch.as_tensor(rows["length"])[:, None], 0)
        num_tokens = int(rows["length"].sum())
        return Maskable(
            inputs,
            torch.where(units >= 0, inputs["input_ids"].long(), IGNORED),
            num_tokens,
            inputs["input_ids"].numel() - num_tokens,
            units=units,
            lengths=torch.as_tensor(rows["length"]),
            seeds=rows["seed"].tolist(),
            tokenizer=tokenizer,
        )

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        return self._loss(model, batch)[0]

    def predict(self, model: PreTrainedModel, batch: Batch, *, answers: bool = True) -> list[Prediction]:
        loss, hits = self._loss(model, batch)
        told = zip(loss.total.tolist(), loss.count.tolist(), hits.tolist(), strict=True)
        fillings = _fillings(model, batch) if answers else [((), ())] * batch.num_rows
        return [Prediction(*filling, *row) for filling, row in zip(fillings, told, strict=True)]

    def join(self, windows: Sequence[Prediction]) -> Prediction:
        value = tuple(tokens for each in windows for tokens in each.value)
        scores = tuple(score for each in windows for score in each.scores)
        loss, count, hits = (sum(each) for each in zip(*((w.loss, w.count, w.hits) for w in windows), strict=True))
        return Prediction(value, scores, loss, count, hits)

    def references(self, prepared: Dataset) -> Sequence[Any]:
        return [None] * (int(prepared["row"][-1]) + 1)

    def describe(self, prediction: Prediction, row: Row) -> dict[str, Any]:
        """The likeliest tokens for each mask of a text, or how well the tokens of one without masks were found."""
        if not prediction.value:
            return {"loss": prediction.loss / max(prediction.count, 1), "tokens": int(prediction.count)}
        scores = iter(prediction.scores)
        return {
            "fillings": [[{"token": token, "score": next(scores)} for token in tokens] for tokens in prediction.value]
        }

    def hide(self, batch: Maskable, *, anew: bool) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
        """The tokens that the model is shown, and those that it is to find; drawn anew, or the same ones every time."""
        assert batch.targets is not None
        ids = batch.inputs["input_ids"]
        draws = _draws(batch, anew=anew)
        drawn = self._drawn(batch.units, draws[..., 0]).to(ids.device)
        fate, other = draws[..., 1].to(ids.device), (draws[..., 2] * len(batch.tokenizer)).long().to(ids.device)
        shown = torch.where(drawn & (fate < MASKED), batch.tokenizer.mask_token_id, ids)
        shown = torch.where(drawn & (fate >= MASKED) & (fate < MASKED + REPLACED), other, shown)
        return shown, batch.targets.masked_fill(~drawn, IGNORED)

    def _loss(self, model: PreTrainedModel, batch: Batch) -> tuple[Loss, Float[Tensor, " batch"]]:
        """The loss of each row, and how many of its tokens are found."""
        assert isinstance(batch, Maskable)
        shown, targets = self.hide(batch, anew=model.training)
        return token_loss(model, forward.hidden(model, {**batch.inputs, "input_ids": shown}), targets)

    def _drawn(self, units: Int[Tensor, "batch seq"], luck: Float[Tensor, "batch seq"]) -> Bool[Tensor, "batch seq"]:
        """Tokens whose unit's luck is below the share, and those of each row's lowest: one unit at least."""
        luck = luck.gather(1, units.clamp(min=0)).masked_fill(units < 0, torch.inf)
        return (units >= 0) & ((luck < self.share) | (luck == luck.amin(-1, keepdim=True)))


def _draws(batch: Maskable, *, anew: bool) -> Float[Tensor, "batch seq 3"]:
    """Three numbers of [0, 1) for each token: from torch's generator, or the same for the same tokens every time."""
    if anew:
        return torch.rand(*batch.units.shape, 3)
    drawn = zip(batch.lengths.tolist(), batch.seeds, strict=True)
    rows = [torch.rand(length, 3, generator=torch.Generator().manual_seed(seed)) for length, seed in drawn]
    return stacked(rows, 0, batch.tokenizer.padding_side)


def _fillings(model: PreTrainedModel, batch: Batch) -> list[tuple[tuple[tuple[str, ...], ...], tuple[float, ...]]]:
    """For each row the likeliest tokens of each mask in its text, and their probabilities, one after the other."""
    assert isinstance(batch, Maskable)
    is_mask = batch.inputs["input_ids"] == batch.tokenizer.mask_token_id
    if not is_mask.any():
        return [((), ())] * len(is_mask)
    answer = forward.hidden(model, batch.inputs)
    logits = forward.logits_at(model, answer, is_mask)
    best = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1).topk(NUM_FILLINGS)
    tokens = [tuple(str(batch.tokenizer.decode([number])).strip() for number in row) for row in best.indices.tolist()]
    nums = is_mask.sum(-1).tolist()
    ends = np.cumsum(nums).tolist()
    scores = best.values.tolist()
    return [
        (tuple(tokens[end - num : end]), tuple(score for row in scores[end - num : end] for score in row))
        for num, end in zip(nums, ends, strict=True)
    ]


def _seed(ids: Sequence[int]) -> int:
    """A number of 63 bits that stands for these tokens."""
    return int.from_bytes(blake2b(np.array(ids, np.int32).tobytes(), digest_size=8).digest(), "big") >> 1
