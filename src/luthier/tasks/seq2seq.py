"""Text to text: summaries, translations, or any text that another one is to become.

Cross-entropy of each token of the target, given the source and the tokens before it, with label smoothing (Szegedy
et al. 2016, https://arxiv.org/abs/1512.00567); the model shifts targets for its decoder by its own rule. Answers are
written with beam search.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

import pyarrow
from datasets import Dataset
from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.component import Facts
from luthier.data.columns import Column, Layout
from luthier.data.spool import Spool, batches, column
from luthier.errors import ModelError
from luthier.models import forward
from luthier.models.processor import Processor, load_tokenizer, tokenizer_of
from luthier.models.source import ModelSource
from luthier.tasks import Batch, Loss, Prediction, Row, Task
from luthier.tasks._language import Generation, generate, token_loss
from luthier.tasks._tokens import FLAGS, IDS, IGNORED, limit_of, settled_length, stacked, was_cut
from luthier.tasks._translation import language_token, pairs, set_languages

LONGEST_TARGET = 128
"""Tokens that `max_target_length: auto` never goes beyond."""


class _Beams(Generation):
    """How an answer is written: with beam search, unless it says otherwise."""

    num_beams: Annotated[int, Field(ge=1)] = 4
    """Beams that are followed; 1 is greedy, or sampling with a temperature."""


class Seq2seq(Task):
    """Which text a text is to become: its summary, its translation, its answer."""

    auto_model: ClassVar[str] = "AutoModelForSeq2SeqLM"
    architectures: ClassVar[tuple[str, ...]] = ("encoder-decoder",)
    pipeline: ClassVar[str] = "text2text-generation"  # transformers 5 has none; the hub still calls it so

    prefix: str = ""
    """What is put before each source, its last blank too, as T5 was taught: `summarize: `."""
    source_language: str | None = None
    """The language of sources: a name in the column `translation`, and a code of models that know many languages."""
    target_language: str | None = None
    """The language of targets, said in the same way."""
    max_source_length: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"
    """Most tokens of a source; longer ones lose their end. auto: the model's limit, 512 at most."""
    max_target_length: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"
    """Most tokens of a target; longer ones lose their end. auto: the model's limit, 128 at most."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each target that is spread over all tokens."""
    generation: _Beams = Field(default_factory=_Beams)
    """How answers are written; `max_new_tokens` is `max_target_length` unless it is said."""

    @property
    def generates(self) -> bool:
        return True

    def layouts(self) -> tuple[Layout, ...]:
        sources = ("document", "article", "dialogue", "text", "input", "src")
        targets = ("summary", "highlights", "reference", "output", "tgt", "translation_text")
        texts = Layout((Column("source", sources), Column("target", targets, target=True)))
        return texts, pairs(self.source_language, self.target_language)

    @property
    def metrics(self) -> Sequence[str | dict[str, Any]]:
        translation, summary = ("chrf", "bleu", "ter"), ("rouge-1", "rouge-2", "rouge-l", "rouge-lsum")
        written = translation if self.target_language is not None else (*summary, "chrf", "bleu")
        exact = {"kind": "exact-match", "normalise": False}
        return (*written, exact, "loss", "perplexity", "token-accuracy")

    def resolve(self, facts: Facts) -> Self:
        source = settled_length(self.max_source_length, facts, setting="task.max_source_length")
        setting = "task.max_target_length"
        target = settled_length(self.max_target_length, facts, longest=LONGEST_TARGET, setting=setting)
        changed: dict[str, Any] = {"max_source_length": source, "max_target_length": target}
        if target != "auto" and "max_new_tokens" not in self.generation.model_fields_set:
            changed["generation"] = self.generation.model_copy(update={"max_new_tokens": target})
        return self.model_copy(update=changed)

    def configuration(self) -> dict[str, Any]:
        return {}

    def load_processor(self, source: ModelSource) -> Processor:
        tokenizer = load_tokenizer(source)
        set_languages(tokenizer, self.source_language, self.target_language)
        return tokenizer

    def fit(self, model: PreTrainedModel, processor: Processor) -> None:
        tokenizer, writing = tokenizer_of(processor), model.generation_config
        assert writing is not None, "a model with a language model's head generates"
        start = getattr(model.config, "decoder_start_token_id", None)
        if start is None:
            start = tokenizer.bos_token_id if tokenizer.cls_token_id is None else tokenizer.cls_token_id
        if language := language_token(tokenizer):
            token, is_first = language
            start, writing.forced_bos_token_id = (start, token) if is_first else (token, None)
        if start is None:
            raise ModelError(
                f"model.name: nothing can begin an answer: {model.config.model_type}'s config.json says no "
                "decoder_start_token_id, and its tokenizer has neither a cls nor a bos token; say one of them there"
            )
        if (end := _end(tokenizer)) is None:
            raise ModelError("model.name: nothing can end an answer: the tokenizer has neither an eos nor a sep token")
        model.config.decoder_start_token_id = writing.decoder_start_token_id = start
        writing.eos_token_id, writing.pad_token_id = end, tokenizer.pad_token_id
        # Saved with the model, which so writes as it was judged; a least length was meant for what it learnt before.
        writing.update(**self.generation.arguments(), min_length=0, max_length=None)

    def prepare(self, rows: Dataset, processor: Processor, *, training: bool = False) -> Dataset:
        tokenizer, spool = tokenizer_of(processor), Spool()
        longest = limit_of(self.max_source_length, tokenizer)
        longest_target = limit_of(self.max_target_length, tokenizer, longest=LONGEST_TARGET)
        for piece in batches(rows):
            ids, cut = _tokens(tokenizer, [self.prefix + text for text in piece["source"]], longest)
            columns: dict[str, Any] = {
                "input_ids": pyarrow.array(ids, IDS),
                "attention_mask": pyarrow.array([[1] * len(each) for each in ids], FLAGS),
                "length": [len(each) for each in ids],
                "cut": cut,
            }
            if "target" in piece:
                ids, lost = _tokens(tokenizer, piece["target"], longest_target, as_target=True)
                columns["target"] = pyarrow.array(ids, IDS)
                columns["reference"] = piece["target"]
                columns["cut"] = [any(each) for each in zip(cut, lost, strict=True)]
            spool.extend(columns)
        return spool.finish().with_format("numpy")

    def collate(self, rows: Mapping[str, Any], processor: Processor) -> Batch:
        # On the right, whatever the tokenizer says: encoders count positions from the left.
        inputs = {
            "input_ids": stacked(rows["input_ids"], tokenizer_of(processor).pad_token_id).long(),
            "attention_mask": stacked(rows["attention_mask"], 0).long(),
        }
        num_tokens = int(rows["length"].sum())
        targets = stacked(rows["target"], IGNORED).long() if "target" in rows else None
        return Batch(inputs, targets, num_tokens, inputs["input_ids"].numel() - num_tokens)

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        assert batch.targets is not None, "a loss needs targets"
        answer = forward.hidden(model, {**batch.inputs, "labels": batch.targets})
        return token_loss(model, answer, batch.targets, label_smoothing=self.label_smoothing)[0]

    def predict(self, model: PreTrainedModel, batch: Batch, *, answers: bool = True) -> list[Prediction]:
        found = [Prediction(None)] * batch.num_rows
        if batch.targets is not None:
            hidden = forward.hidden(model, {**batch.inputs, "labels": batch.targets})
            loss, hits = token_loss(model, hidden, batch.targets)
            told = zip(loss.total.tolist(), loss.count.tolist(), hits.tolist(), strict=True)
            found = [Prediction(None, (), *row) for row in told]
        if answers:
            written = generate(model, batch.inputs, self.generation).tolist()
            found = [replace(each, value=ids) for each, ids in zip(found, written, strict=True)]
        return found

    def finish(self, predictions: list[Prediction], rows: Dataset, processor: Processor) -> list[Prediction]:
        tokenizer = tokenizer_of(processor)
        return [
            each
            if each.value is None
            else replace(each, value=str(tokenizer.decode(each.value, skip_special_tokens=True)).strip())
            for each in predictions
        ]

    def references(self, prepared: Dataset) -> Sequence[str]:
        return list(column(prepared, "reference"))

    def show(self, prepared: Row, processor: Processor) -> list[tuple[str, bool]]:
        decode = tokenizer_of(processor).decode
        pieces = [(str(decode(prepared["input_ids"])), False)]
        return [*pieces, (str(decode(prepared["target"])), True)] if "target" in prepared else pieces

    def describe(self, prediction: Prediction, row: Row) -> dict[str, Any]:
        return {"text": prediction.value}


def _tokens(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], limit: int, *, as_target: bool = False
) -> tuple[list[list[int]], list[bool]]:
    """Each text's tokens up to the limit, and whether it lost some; a target always ends with the token for it."""
    name = "text_target" if as_target else "text"
    tokens = tokenizer(**{name: texts}, truncation=True, max_length=limit)
    rows: list[list[int]] = tokens["input_ids"]
    cut = was_cut(tokens)
    if not tokens.encodings:  # a tokenizer written in Python does not tell
        full = [number for number, ids in enumerate(rows) if len(ids) >= limit]
        for number in full:
            cut[number] = len(tokenizer(**{name: texts[number]})["input_ids"]) > limit
    end = _end(tokenizer)
    # A decoder's tokenizer ends nothing; behind mBART's end there is a language.
    if as_target and end is not None and end not in rows[0][-2:]:
        cut = [lost or len(ids) >= limit for lost, ids in zip(cut, rows, strict=True)]
        rows = [[*ids[: limit - 1], end] for ids in rows]
    return rows, cut


def _end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that ends a text; None where there is none."""
    end: int | None = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    return end
