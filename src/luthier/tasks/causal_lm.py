"""Causal language modelling: completion, instruction and chat, each token told from those before it.

The loss is the cross-entropy of the tokens that are learnt: the assistant's words in chats, the completion of a
prompt, all of a plain text. Radford et al. 2019, https://cdn.openai.com/better-language-models/language_models.pdf;
instruction tuning: Wei et al. 2021, https://arxiv.org/abs/2109.01652.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.component import Facts
from luthier.data.columns import Layout
from luthier.data.sift import SHOWN_PROBLEMS
from luthier.data.spool import Spool, batches
from luthier.errors import DataError, ModelError, RecipeError
from luthier.models import forward
from luthier.models.packed import can_pack, require_packing
from luthier.models.processor import Processor, load_tokenizer, tokenizer_of
from luthier.models.source import ModelSource
from luthier.tasks import Batch, Loss, Prediction, Row, Task, _chat, _templates
from luthier.tasks._continuing import continued
from luthier.tasks._language import Generation, shifted, token_loss
from luthier.tasks._rendering import Refused
from luthier.tasks._sequences import Judgement, Tokens, columns_of, cut, packed, tokens_of, windows
from luthier.tasks._supervision import Written, writing
from luthier.tasks._tokens import IGNORED, settled_length, stacked

LONGEST = 1024
"""Tokens that `max_length: auto` never goes beyond."""
LEARNT = {
    "chat": ("all", "last", "everything"),
    "instruction": ("completion", "everything"),
    "prompt": ("completion", "everything"),
    "text": ("everything",),
}
"""What may be learnt of rows of each form; the first is usual."""
PROBE = {"prompt": "Hello", "completion": "Hi"}
"""A chat that tells which token a template ends an answer with."""


@dataclass(frozen=True)
class _Rows(Batch):
    """A batch that answers can be written from."""

    contexts: tuple[int, ...]
    """Tokens of each row from which its answer is written; 0 where none is."""
    tokenizer: PreTrainedTokenizerBase


class CausalLM(Task):
    """The next token, and so the answer to a chat or a prompt, or how a text goes on."""

    auto_model: ClassVar[str] = "AutoModelForCausalLM"
    architectures: ClassVar[tuple[str, ...]] = ("decoder",)
    pipeline: ClassVar[str] = "text-generation"
    sample: ClassVar[Any] = "What is there to answer?"

    rows: Literal["auto", "chat", "prompt", "instruction", "text"] = "auto"
    """What rows are: messages; prompt and completion; instruction, input and output; text. auto: by their columns."""
    template: _templates.Template = "auto"
    """How turns become a text; auto: the model's own template, where it has none plain for chats and none for prompts.
    own, plain and chatml render prompts and instructions too, as a user's turn and an answer."""
    learn: Literal["auto", "all", "last", "completion", "everything"] = "auto"
    """What is learnt: all answers of a chat or the last, a prompt's completion, or everything. auto: all answers, the
    completion, everything of plain texts."""
    max_length: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"
    """Most tokens of a row; chats and prompts lose their end, plain texts become several rows. auto: the model's limit,
    1024 at most."""
    drop_cut: bool = False
    """Leave out training rows whose whole answer is cut off by max_length, where they would stop the run."""
    add_end: bool = True
    """End plain texts, and completions without a template, with the tokenizer's end-of-text token, and learn it."""
    packing: bool | Literal["auto"] = "auto"
    """Put several training rows into one of max_length; no row sees another. auto: on a GPU."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each target that is spread over the whole vocabulary."""
    generate: bool = False
    """Write an answer to every evaluated row, and score it; far slower than losses alone."""
    generation: Generation = Generation()
    """How answers are written."""

    @property
    def generates(self) -> bool:
        return True

    @property
    def metrics(self) -> Sequence[str | dict[str, Any]]:
        of_losses = ("perplexity", "token-accuracy", "loss")
        return (*of_losses, "rouge-1", "rouge-2", "rouge-l", "rouge-lsum") if self.generate else of_losses

    def layouts(self) -> tuple[Layout, ...]:
        return _chat.layouts(self.rows)

    def configuration(self) -> dict[str, Any]:
        return {}

    def resolve(self, facts: Facts) -> Self:
        resolved = self if facts.train is None else self._for(_chat.form_of(facts.train.column_names))
        update: dict[str, Any] = {"max_length": settled_length(self.max_length, facts, longest=LONGEST)}
        if facts.model is not None and self.packing == "auto":
            update["packing"] = facts.device == "cuda" and can_pack(facts.model)
        if facts.processor is not None:
            tokenizer = tokenizer_of(facts.processor)
            update["template"] = _templates.name_of(tokenizer, resolved.template, chats=resolved.rows == "chat")
        return resolved.model_copy(update=update)

    def _for(self, form: Any) -> Self:
        """The task for rows of a form."""
        learn = LEARNT[form][0] if self.learn == "auto" else self.learn
        if learn not in LEARNT[form]:
            raise RecipeError(f"task.learn: {learn} means nothing for {form} rows; say {' or '.join(LEARNT[form])}")
        template = "none" if form == "text" and self.template == "auto" else self.template
        if form == "text" and template != "none":
            raise RecipeError(f"task.template: {template} means nothing for plain text; leave it out")
        if form == "text" and self.generate:
            raise RecipeError("task.generate: a plain text has no answer to compare with; leave it out")
        if form == "chat" and template == "none":
            raise RecipeError("task.template: chats need a template; say auto, own, plain or chatml")
        return self.model_copy(update={"rows": form, "learn": learn, "template": template})

    def load_processor(self, source: ModelSource) -> Processor:
        tokenizer = load_tokenizer(source)
        _templates.put(tokenizer, self.template, chats=self.rows == "chat")
        _templates.choose_padding(tokenizer)
        return tokenizer

    def fit(self, model: PreTrainedModel, processor: Processor) -> None:
        """Tell the model which tokens end an answer, so that it stops by itself wherever it is used.

        Raises ModelError where none does, or examples that are packed would see each other.
        """
        tokenizer = tokenizer_of(processor)
        if self.packing is True:
            require_packing(model)
        settings = model.generation_config
        known = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
        ends = {*known, tokenizer.eos_token_id, self._stop(tokenizer)} - {None}
        settings.eos_token_id = sorted(ends) or None
        settings.pad_token_id = tokenizer.pad_token_id

    def _stop(self, tokenizer: PreTrainedTokenizerBase) -> int | None:
        """The token that ends an answer, and is learnt; None where the recipe wants none."""
        if not self._is_rendered(self.rows, tokenizer):
            return self._end(tokenizer)
        try:
            with writing(tokenizer, is_rendered=True, tools=False) as write:
                (stop,) = write(PROBE).stops
        except Refused:
            return None  # rows may have what the template wants: they are judged one by one
        if stop is None:
            raise ModelError(
                f"task.template: {self.template} writes no special token after an answer, so the model would never "
                "learn to stop; say task.template=plain"
            )
        return _templates.specials(tokenizer)[stop]

    def _end(self, tokenizer: PreTrainedTokenizerBase) -> int | None:
        """What is put behind a text that no template renders."""
        if self.add_end and tokenizer.eos_token_id is None:
            raise ModelError("task.add_end: this tokenizer has no end-of-text token; say task.add_end=false")
        end: int | None = tokenizer.eos_token_id if self.add_end else None
        return end

    def _is_rendered(self, form: str, tokenizer: PreTrainedTokenizerBase) -> bool:
        if form == "text" or self.template == "none":
            return False
        return self.template != "auto" or bool(tokenizer.chat_template)

    def prepare(self, rows: Dataset, processor: Processor, *, training: bool = False) -> Dataset:
        tokenizer, spool, judgement = tokenizer_of(processor), Spool(), Judgement()
        form, limit = _chat.form_of(rows.column_names), LONGEST if self.max_length == "auto" else self.max_length
        is_text, is_rendered = form == "text", self._is_rendered(form, tokenizer)
        for first, texts, sequences in self._sequences(rows, tokenizer, judgement):
            found = []
            for number, (written, whole) in enumerate(zip(texts, sequences, strict=True), first):
                parts = windows(whole, limit, whole_last=not training) if is_text else iter([cut(whole, limit)])
                found += [(number, written.reference, part) for part in parts if judgement.judge(part) or not training]
            if found:
                numbers, references, kept = zip(*found, strict=True)
                spool.extend({"row": numbers, "reference": references, **columns_of(kept)})
        if training:
            learns_all = self._learnt(form) == "everything"
            judgement.require(drops=self.drop_cut, learns_all=learns_all, ends=is_rendered or self.add_end)
        prepared = spool.finish().with_format("numpy")
        if not judgement.num_learnt:
            return prepared.remove_columns(["target", "reference"])
        return packed(prepared, limit) if training and self.packing is True else prepared

    def _sequences(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, judgement: Judgement
    ) -> Iterator[tuple[int, list[Written], Iterator[Tokens]]]:
        """Rows as texts and as their tokens, piece by piece, each with the number of its first row."""
        form, first, refused = _chat.form_of(rows.column_names), 0, list[str]()
        is_rendered = self._is_rendered(form, tokenizer)
        if form == "chat" and not is_rendered:
            raise DataError("task.template: these rows are chats, but this task was made for rows without a template")
        learn, end = self._learnt(form), None if is_rendered else self._end(tokenizer)
        special = _templates.specials(tokenizer)
        with writing(tokenizer, is_rendered=is_rendered, tools="tools" in rows.column_names) as write:
            for piece in batches(rows):
                texts = []
                for number, values in enumerate(zip(*piece.values(), strict=True), first):
                    try:
                        texts.append(write(dict(zip(piece, values, strict=True))))
                    except Refused as refusal:
                        refused.append(f"  row {number}: {refusal}")
                judgement.stops |= {end} if end else {special[stop] for each in texts for stop in each.stops if stop}
                if not refused:
                    yield first, texts, tokens_of(texts, tokenizer, is_rendered=is_rendered, learn=learn, end=end)
                first += len(next(iter(piece.values())))
        if refused:
            shown = "\n".join(refused[:SHOWN_PROBLEMS])
            raise DataError(f"task.template: {len(refused)} of {len(rows)} rows cannot be rendered:\n{shown}")

    def _learnt(self, form: str) -> str:
        return self.learn if self.learn in LEARNT[form] else LEARNT[form][0]

    def references(self, prepared: Dataset) -> Sequence[str]:
        """The words of each row's last answer; of a plain text none."""
        _, firsts = np.unique(prepared["row"][:], return_index=True)
        return [str(reference) for reference in prepared.select(firsts)["reference"][:]]

    def collate(self, rows: Mapping[str, Any], processor: Processor) -> Batch:
        tokenizer = tokenizer_of(processor)
        num_tokens = int(rows["length"].sum())
        targets = stacked(rows["target"], IGNORED).long() if "target" in rows else None
        if "position_ids" in rows:  # padding is one more example, or several
            inputs = {name: stacked(rows[name], 0).long() for name in ("input_ids", "position_ids")}
        else:
            inputs = {"input_ids": stacked(rows["input_ids"], tokenizer.pad_token_id or 0).long()}
            places = torch.arange(inputs["input_ids"].shape[1])
            inputs["attention_mask"] = (places < torch.as_tensor(rows["length"])[:, None]).long()
        contexts = tuple(map(int, rows["context"])) if "context" in rows else ()
        num_padding = inputs["input_ids"].numel() - num_tokens
        return _Rows(inputs, targets, num_tokens, num_padding, contexts, tokenizer)

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        return self._judged(model, batch, self.label_smoothing)[0]

    def predict(self, model: PreTrainedModel, batch: Batch, *, answers: bool = True) -> list[Prediction]:
        assert isinstance(batch, _Rows), "a batch that this task collated"
        texts: list[str | None] = [None] * batch.num_rows
        if answers:
            texts = continued(model, batch.tokenizer, batch.inputs["input_ids"], batch.contexts, self.generation)
        if batch.targets is None:
            return [Prediction(text) for text in texts]
        loss, hits = self._judged(model, batch, 0.0)
        judged = zip(texts, loss.total.tolist(), loss.count.tolist(), hits.tolist(), strict=True)
        return [Prediction(text, (), total, count, hit) for text, total, count, hit in judged]

    def _judged(self, model: PreTrainedModel, batch: Batch, smoothing: float) -> tuple[Loss, Float[Tensor, " batch"]]:
        """Each row's loss, and how many of its tokens the model would have chosen too."""
        assert batch.targets is not None, "a loss needs targets"
        assert "position_ids" not in batch.inputs or not model.config.use_cache, (
            "a cache lets packed rows see each other"
        )
        answer = forward.hidden(model, batch.inputs)
        return token_loss(model, answer, shifted(batch.targets), label_smoothing=smoothing)

    def join(self, windows: Sequence[Prediction]) -> Prediction:
        """The losses of all windows, and what goes on from the last one."""
        sums = (sum(getattr(each, name) for each in windows) for name in ("loss", "count", "hits"))
        return Prediction(windows[-1].value, (), *sums)

    def describe(self, prediction: Prediction, row: Row) -> dict[str, Any]:
        text = prediction.value or ""
        return {"text": text if "text" in row else text.strip()}

    def show(self, prepared: Row, processor: Processor) -> list[tuple[str, bool]]:
        tokenizer, ids = tokenizer_of(processor), prepared["input_ids"]
        learnt = prepared["target"] != IGNORED if "target" in prepared else np.zeros(len(ids), dtype=bool)
        runs = groupby(range(len(ids)), key=lambda place: bool(learnt[place]))
        return [(str(tokenizer.decode(ids[list(places)])), is_learnt) for is_learnt, places in runs]
