"""What is learnt in the benchmarks beside classification: real rows of the recipes, prepared, and their models.

`make data models` puts them into `data/` and `build/models/`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from datasets import Dataset

from luthier.component import Facts
from luthier.data.source import DataSource
from luthier.data.splits import load
from luthier.models.processor import Processor
from luthier.models.source import ModelSource
from luthier.tasks import Task
from luthier.tasks.causal_lm import CausalLM
from luthier.tasks.seq2seq import Seq2seq
from luthier.tasks.speech_recognition import SpeechRecognition

GGUF = "build/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2, MARIAN, WHISPER = "build/benchmarks/smollm2", "build/models/marian-en-pt", "build/models/whisper-tiny-en"


@dataclass(frozen=True)
class Work:
    """A task with its prepared rows."""

    source: ModelSource
    task: Task
    processor: Processor
    rows: Dataset
    """Training rows as they were read."""
    train: Dataset
    held_out: Dataset
    warm: Dataset
    """Rows of a first step that is not timed; none of them is in `train`."""

    @classmethod
    def of(
        cls, source: ModelSource, task: Task, processor: Processor, train: Dataset, held_out: Dataset, *, num_warm: int
    ) -> Self:
        """Rows prepared; the first of the training rows are for the warm-up."""
        kept = task.prepare(train, processor, training=True)
        warm, timed = kept.select(range(num_warm)), kept.select(range(num_warm, len(kept)))
        return cls(source, task, processor, train, timed, task.prepare(held_out, processor), warm)


def chats(num_rows: int, *, num_warm: int, num_held_out: int, seed: int) -> Work:
    """Dialogues for SmolLM2-135M, their lengths as they are; the answers are learnt."""
    data = DataSource(train="data/dialogues/train.jsonl", validation="data/dialogues/validation.jsonl")
    return _prepared(SMOLLM2, CausalLM(max_length=512), data, (num_rows, num_warm, num_held_out), seed)


def summaries(num_rows: int, *, num_warm: int, num_held_out: int, seed: int) -> Work:
    """News for SmolLM2-135M to sum up, of which the sentence is learnt: long rows."""
    columns = {"prompt": "document", "completion": "summary"}
    files = {"train": "data/summaries/train.jsonl", "validation": "data/summaries/validation.jsonl"}
    data = DataSource(**files, columns=columns, bad_rows="skip")
    return _prepared(SMOLLM2, CausalLM(max_length=512, drop_cut=True), data, (num_rows, num_warm, num_held_out), seed)


def translations(num_rows: int, *, num_warm: int, num_held_out: int, seed: int) -> Work:
    """English sentences and their Portuguese, for Bergamot's tiny Marian model."""
    data = DataSource(train="data/translation/en-pt.train.csv", validation="data/translation/en-pt.validation.csv")
    task = Seq2seq(source_language="en", target_language="pt", max_source_length=128, max_target_length=128)
    return _prepared(MARIAN, task, data, (num_rows, num_warm, num_held_out), seed)


def clips(num_rows: int, *, num_warm: int, num_held_out: int, seed: int) -> Work:
    """Sentences that are read aloud, for Whisper tiny.en."""
    data = DataSource(train="data/speech/train.csv", validation="data/speech/validation.csv")
    return _prepared(WHISPER, SpeechRecognition(), data, (num_rows, num_warm, num_held_out), seed)


def smollm2() -> str:
    """A folder with SmolLM2's weights in bf16, written once: both sides start from the same ones."""
    folder = Path(SMOLLM2)
    if not (folder / "model.safetensors").is_file():
        from luthier.models.load import Ask, load_model
        from luthier.models.processor import load_tokenizer

        source = ModelSource(name=GGUF, dtype="bfloat16")
        tokenizer = load_tokenizer(source)
        model = load_model(source, Ask.of(CausalLM()), device="cpu", seed=0, processor=tokenizer)
        model.bfloat16().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return str(folder)


def _prepared(name: str, task: Task, data: DataSource, sizes: tuple[int, int, int], seed: int) -> Work:
    """Rows drawn under the seed: (training, warm-up, held-out) of them."""
    num_rows, num_warm, num_held_out = sizes
    source = ModelSource(name=smollm2() if name == SMOLLM2 else name)
    splits = load(data, task.layouts(), seed=0)
    task = task.resolve(Facts(train=splits.train))
    processor = task.load_processor(source)
    train, held_out = _some(splits.train, num_warm + num_rows, seed), _some(splits.validation, num_held_out, seed)
    return Work.of(source, task, processor, train, held_out, num_warm=num_warm)


def _some(rows: Dataset | None, number: int, seed: int) -> Dataset:
    assert rows is not None
    order = np.random.default_rng(seed).permutation(len(rows))
    return rows.select(order[:number])
