"""Speech recognition: what is said in a clip, written down. By Whisper (Radford et al. 2022,
https://arxiv.org/abs/2212.04356), or by models trained by CTC (Graves et al. 2006, https://doi.org/10.1145/1143844.1143891).

What differs between the two, and their losses, is in `_hearing.py`. Sound is read once, averaged over its channels and
resampled to the model's rate; its features are computed batch by batch.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import pyarrow
from datasets import Dataset
from pydantic import Field
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.data.audio import settled, wave
from luthier.data.columns import BadRow, Column, Layout
from luthier.data.formats import Row as FileRow
from luthier.data.spool import Spool, column
from luthier.data.transcripts import Normalizer, normalised
from luthier.errors import DataError
from luthier.models.load import require_suited
from luthier.models.processor import Processor, tokenizer_of
from luthier.models.source import ModelSource
from luthier.models.speech import (
    DELIMITER,
    SPECIAL,
    characters_of,
    is_ctc,
    load_speech_processor,
    note_limits,
    sampling_rate,
    set_language,
    settle_language,
)
from luthier.tasks import Batch, Loss, Prediction, Row, Task
from luthier.tasks._hearing import Faults, hearing
from luthier.tasks._language import Generation
from luthier.tasks._tokens import IDS, IGNORED, stacked

SAMPLES = pyarrow.list_(pyarrow.float32())
NUM_SHOWN = 10
"""Characters that a message names."""


class SpeechRecognition(Task):
    """What is said in a recording, as text."""

    auto_model: ClassVar[str] = "AutoModelForSpeechSeq2Seq|AutoModelForCTC"
    architectures: ClassVar[tuple[str, ...]] = ("speech",)
    pipeline: ClassVar[str] = "automatic-speech-recognition"
    sample: ClassVar[Any] = "clip.wav"

    language: str | None = None
    """The language that is spoken, as english or en; only for a Whisper of many languages, which needs it."""
    task_token: Literal["transcribe", "translate"] = "transcribe"
    """Whisper of many languages: write what is said, or its English translation."""
    vocabulary: tuple[Annotated[str, Field(min_length=1, max_length=1)], ...] | Literal["model", "train"] = "model"
    """CTC: the characters that are written. model: those of its tokenizer; train: those of the training rows."""
    normalizer: Normalizer = "none"
    """What is made of transcripts before they are learnt. basic: lower case, no punctuation, single blanks."""
    long: Literal["refuse", "cut"] = "refuse"
    """What happens to clips or transcripts beyond the model's limit; cut: their ends are lost, and counted."""
    generation: Generation = Field(default_factory=Generation)
    """How a decoder writes; a model trained by CTC writes the likeliest character of each frame."""

    @property
    def generates(self) -> bool:
        return True

    @property
    def metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("wer", {"kind": "wer", "normalizer": "none"}, "cer", "loss")

    def layouts(self) -> tuple[Layout, ...]:
        audio = ("path", "file", "file_name", "filename", "wav", "audio_path")
        text = ("sentence", "transcript", "transcription", "normalized_text")
        columns = (
            Column("audio", audio, holds="anything"),
            Column("sampling_rate", required=False, holds="anything"),
            Column("text", text, target=True),
        )
        return (Layout(columns, self._read),)

    def _read(self, row: FileRow, folder: Path | None) -> FileRow:
        """Its audio as one text, and its transcript as it is."""
        kept: dict[str, Any] = {"audio": settled(row["audio"], row.get("sampling_rate"), folder)}
        if "text" in row:
            if not normalised(row["text"], self.normalizer).strip():
                raise BadRow(f"text is {row['text']!r}, of which the {self.normalizer} normaliser leaves nothing")
            kept["text"] = row["text"]
        return kept

    def resolve(self, facts: Facts) -> Self:
        if self.vocabulary != "train" or facts.train is None:
            return self
        return self.model_copy(update={"vocabulary": characters_of(self._texts(facts.train))})

    def _texts(self, rows: Dataset) -> Iterator[str]:
        """The transcripts, as they are learnt."""
        return (self._learnt(text) for text in column(rows, "text"))

    def _learnt(self, text: str) -> str:
        return " ".join(normalised(text, self.normalizer).split())

    def configuration(self) -> dict[str, Any]:
        return {} if isinstance(self.vocabulary, str) else {"vocab_size": len(SPECIAL) + len(self.vocabulary)}

    def load_processor(self, source: ModelSource) -> Processor:
        require_suited(source, self)
        characters = None if isinstance(self.vocabulary, str) else self.vocabulary
        processor = load_speech_processor(source, characters)
        set_language(processor, self.language, self.task_token)
        return processor

    def require_targets(self, rows: Dataset, split: str) -> None:
        if isinstance(self.vocabulary, str) or "text" not in rows.column_names:
            return
        known = {*self.vocabulary, " ", DELIMITER}
        strange = [set(text) - known for text in self._texts(rows)]
        counts = Counter(character for characters in strange for character in characters)
        if counts:
            shown = ", ".join(f"{c!r} in {n}" for c, n in counts.most_common(NUM_SHOWN))
            raise DataError(
                f"data.{split}: {sum(map(bool, strange))} of {len(rows)} transcripts have characters that are not in "
                f"task.vocabulary: {shown}. Mend them, or give training rows that have them"
            )

    def fit(self, model: PreTrainedModel, processor: Processor) -> None:
        note_limits(model, processor)
        if not is_ctc(processor):
            settle_language(model, self.language, self.task_token)

    def prepare(self, rows: Dataset, processor: Processor, *, training: bool = False) -> Dataset:
        ear, rate = hearing(processor, self.generation), sampling_rate(processor)
        most, spool, faults = ear.most_samples(processor), Spool(), Faults(len(rows))
        for number, row in enumerate(rows.with_format(None)):
            heard, target = wave(row["audio"], rate), None
            cut = most is not None and len(heard) > most
            if "text" in row:
                (whole,) = ear.targets([self._learnt(row["text"])], processor)
                target = whole[: tokenizer_of(processor).model_max_length]
                cut = cut or len(target) < len(whole)
            length = ear.length(len(heard), processor)
            faults.look(number, row["audio"], ear.fault(target or [], length, processor))
            faults.look(number, row["audio"], "long" if cut and self.long == "refuse" else None)
            columns: dict[str, Any] = {
                "audio": pyarrow.array([heard[:most]], SAMPLES),
                "length": [length],
                "cut": [cut],
            }
            if target is not None:
                columns |= {"target": pyarrow.array([target], IDS), "reference": [row["text"]]}
            spool.extend(columns)
        faults.refuse()
        return spool.finish().with_format("numpy")

    def collate(self, rows: Mapping[str, Any], processor: Processor) -> Batch:
        inputs = hearing(processor, self.generation).inputs(list(rows["audio"]), processor)
        targets = stacked(rows["target"], IGNORED).long() if "target" in rows else None
        num_tokens = int(rows["length"].sum())
        return Batch(inputs, targets, num_tokens, int(rows["length"].max()) * len(rows["length"]) - num_tokens)

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        assert batch.targets is not None, "a loss needs targets"
        return hearing(model, self.generation).loss(model, batch.inputs, batch.targets)[0]

    def predict(self, model: PreTrainedModel, batch: Batch, *, answers: bool = True) -> list[Prediction]:
        ear = hearing(model, self.generation)
        written: Sequence[Any] = ear.write(model, batch.inputs) if answers else [None] * batch.num_rows
        if batch.targets is None:
            return [Prediction(tokens) for tokens in written]
        loss, hits = ear.loss(model, batch.inputs, batch.targets)
        told = (each.tolist() for each in (loss.total, loss.count, hits))
        return [Prediction(tokens, (), *row) for tokens, *row in zip(written, *told, strict=True)]

    def finish(self, predictions: list[Prediction], rows: Dataset, processor: Processor) -> list[Prediction]:
        """Tokens become text."""
        ear = hearing(processor, self.generation)
        return [p if p.value is None else replace(p, value=ear.text(p.value, processor)) for p in predictions]

    def show(self, prepared: Row, processor: Processor) -> list[tuple[str, bool]]:
        """The target: a decoder's tokens as text, CTC's characters with | between words."""
        if "target" not in prepared:
            return []
        tokenizer, tokens = tokenizer_of(processor), prepared["target"].tolist()
        if is_ctc(processor):
            return [("".join(tokenizer.convert_ids_to_tokens(tokens)), True)]
        return [(str(tokenizer.decode(tokens)), True)]

    def references(self, prepared: Dataset) -> Sequence[Any]:
        return list(column(prepared, "reference"))

    def describe(self, prediction: Prediction, row: Row) -> dict[str, Any]:
        return {"text": prediction.value}
