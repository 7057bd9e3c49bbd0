"""How two kinds of speech models learn and write: those with a decoder, as Whisper, and those trained by CTC.

A decoder writes token after token: cross-entropy of each, given the ones before it (Radford et al. 2022,
https://arxiv.org/abs/2212.04356). CTC writes a character or a blank for each frame: the loss is the negative logarithm
of all the ways to spell the transcript with blanks and repeats (Graves et al. 2006,
https://doi.org/10.1145/1143844.1143891).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.data.audio import EMBEDDED
from luthier.errors import DataError
from luthier.models import forward
from luthier.models.processor import Processor, tokenizer_of
from luthier.models.speech import (
    extractor_of,
    frame_counts,
    is_ctc,
    num_frames,
    sampling_rate,
    writes_blanks,
)
from luthier.tasks import Loss
from luthier.tasks._language import Generation, generate, token_loss
from luthier.tasks._tokens import IGNORED

Waves = Sequence[Float[ndarray, " samples"]]
START = "<|startoftranscript|>"
FAULTS = {
    "long": "with a clip or a transcript beyond the model's limit (make shorter ones; task.long=cut loses their ends)",
    "short": "with too little sound for their transcript, which CTC cannot align with it",
    "strange": "with characters that the tokenizer does not have (task.normalizer=basic takes punctuation away, "
    "task.vocabulary=train makes a new one)",
}
"""What may be wrong with a row, in words that follow a number of rows."""
NUM_SHOWN = 10
"""Rows that a message names."""
NUM_PROMPT = 4
"""Tokens that Whisper writes after: the start, a language, a task, no timestamps."""


class Hearing(ABC):
    """What differs between the kinds."""

    @abstractmethod
    def most_samples(self, processor: Processor) -> int | None:
        """How much of a wave is heard; None where all of it is."""

    @abstractmethod
    def length(self, num_samples: int, processor: Processor) -> int:
        """Positions that the model's blocks compute for a wave: what bounds a batch."""

    @abstractmethod
    def targets(self, texts: Sequence[str], processor: Processor) -> list[list[int]]:
        """The tokens of transcripts."""

    @abstractmethod
    def fault(self, target: Sequence[int], length: int, processor: Processor) -> str | None:
        """Which of FAULTS a row has that no training could serve."""

    @abstractmethod
    def inputs(self, waves: Waves, processor: Processor) -> dict[str, Tensor]:
        """What the model takes, padded."""

    @abstractmethod
    def loss(
        self, model: PreTrainedModel, inputs: dict[str, Tensor], targets: Int[Tensor, "batch tokens"]
    ) -> tuple[Loss, Float[Tensor, " batch"]]:
        """The loss of each row, per token of its transcript; and how many tokens would have been chosen."""

    @abstractmethod
    def write(self, model: PreTrainedModel, inputs: dict[str, Tensor]) -> list[list[int]]:
        """The tokens of each row's answer."""

    @abstractmethod
    def text(self, tokens: Sequence[int], processor: Processor) -> str:
        """What written tokens say."""


def hearing(heard: Processor | PreTrainedModel, generation: Generation) -> Hearing:
    """The kind of a processor or of a model."""
    writes_frames = not heard.config.is_encoder_decoder if isinstance(heard, PreTrainedModel) else is_ctc(heard)
    return Ctc() if writes_frames else Decoder(generation)


@dataclass(frozen=True)
class Decoder(Hearing):
    """Whisper: a clip of one length, and a decoder that shifts its targets by itself."""

    generation: Generation

    def most_samples(self, processor: Processor) -> int | None:
        return int(extractor_of(processor).n_samples)

    def length(self, num_samples: int, processor: Processor) -> int:
        return int(extractor_of(processor).nb_max_frames) // 2  # a clip is padded to its end; one convolution halves it

    def targets(self, texts: Sequence[str], processor: Processor) -> list[list[int]]:
        """Language, task and text; not the start, which the model puts before them.

        A text begins with a blank, as in all that Whisper was trained on, where its language writes blanks.
        """
        tokenizer = tokenizer_of(processor)
        start = tokenizer.convert_tokens_to_ids(START)
        blank = " " if writes_blanks(processor) else ""
        rows = tokenizer([blank + text for text in texts])["input_ids"]
        return [ids[1:] if ids[:1] == [start] else ids for ids in rows]

    def fault(self, target: Sequence[int], length: int, processor: Processor) -> str | None:
        return None

    def inputs(self, waves: Waves, processor: Processor) -> dict[str, Tensor]:
        return _extracted(waves, processor)

    def loss(
        self, model: PreTrainedModel, inputs: dict[str, Tensor], targets: Int[Tensor, "batch tokens"]
    ) -> tuple[Loss, Float[Tensor, " batch"]]:
        with masking(model, inputs["input_features"].shape[-1]):
            answer = forward.hidden(model, {**inputs, "labels": targets})
        return token_loss(model, answer, targets)

    def write(self, model: PreTrainedModel, inputs: dict[str, Tensor]) -> list[list[int]]:
        most = min(self.generation.max_new_tokens, model.config.max_target_positions - NUM_PROMPT)
        generation = self.generation.model_copy(update={"max_new_tokens": most})
        return [ids.tolist() for ids in generate(model, inputs, generation)]

    def text(self, tokens: Sequence[int], processor: Processor) -> str:
        return str(tokenizer_of(processor).decode(list(tokens), skip_special_tokens=True)).strip()


class Ctc(Hearing):
    """wav2vec2 and its kin: a wave of any length, a character or a blank for each frame."""

    def most_samples(self, processor: Processor) -> int | None:
        return None

    def length(self, num_samples: int, processor: Processor) -> int:
        return num_frames(num_samples, processor)

    def targets(self, texts: Sequence[str], processor: Processor) -> list[list[int]]:
        """One number a character; in the vocabulary's case, where it has one case alone."""
        tokenizer = tokenizer_of(processor)
        cased = _case(tokenizer)
        return [list(tokenizer(cased(text), add_special_tokens=False)["input_ids"]) for text in texts]

    def fault(self, target: Sequence[int], length: int, processor: Processor) -> str | None:
        """A character needs a frame, and one more between two that are alike."""
        num_repeats = sum(one == other for one, other in pairwise(target))
        if max(1, len(target) + num_repeats) > length:
            return "short"
        return "strange" if tokenizer_of(processor).unk_token_id in target else None

    def inputs(self, waves: Waves, processor: Processor) -> dict[str, Tensor]:
        return _extracted(waves, processor, padding=True)

    def loss(
        self, model: PreTrainedModel, inputs: dict[str, Tensor], targets: Int[Tensor, "batch tokens"]
    ) -> tuple[Loss, Float[Tensor, " batch"]]:
        with masking(model, int(frame_counts(model, inputs["attention_mask"].sum(-1)).max())):
            logits, lengths = _logits(model, inputs)
        num_tokens = (targets != IGNORED).sum(-1)
        total = F.ctc_loss(
            logits.log_softmax(-1).transpose(0, 1),
            targets.clamp(min=0),
            lengths,
            num_tokens,
            blank=model.config.pad_token_id,
            reduction="none",
            zero_infinity=model.config.ctc_zero_infinity,
        )
        return Loss(total, num_tokens.to(total.dtype)), torch.zeros_like(total)

    def write(self, model: PreTrainedModel, inputs: dict[str, Tensor]) -> list[list[int]]:
        """The likeliest of each frame; what repeats is written once, and blanks not at all."""
        logits, lengths = _logits(model, inputs)
        chosen = (row[:length].unique_consecutive() for row, length in zip(logits.argmax(-1), lengths, strict=True))
        return [row[row != model.config.pad_token_id].tolist() for row in chosen]

    def text(self, tokens: Sequence[int], processor: Processor) -> str:
        return str(tokenizer_of(processor).decode(list(tokens), group_tokens=False))


class Faults:
    """The rows that a model cannot serve, by what is wrong with them."""

    def __init__(self, num_rows: int) -> None:
        self._num_rows = num_rows
        self._found: dict[str, dict[int, str]] = {}

    def look(self, number: int, audio: str, fault: str | None) -> None:
        """Count a row that has a fault."""
        if fault is not None:
            name = f"row {number}" if audio.startswith(EMBEDDED) else Path(audio).name
            self._found.setdefault(fault, {})[number] = name

    def refuse(self) -> None:
        """Raise DataError, one for all of them, where there are some."""
        if not self._found:
            return
        lines = []
        for fault, names in self._found.items():
            more = f" and {len(names) - NUM_SHOWN} more" if len(names) > NUM_SHOWN else ""
            lines.append(f"  {len(names)} {FAULTS[fault]}: {', '.join(islice(names.values(), NUM_SHOWN))}{more}")
        num_bad = len(set().union(*self._found.values()))
        raise DataError(f"data: {num_bad} of {self._num_rows} rows cannot be used:\n" + "\n".join(lines))


@contextmanager
def masking(model: PreTrainedModel, num_positions: int) -> Iterator[None]:
    """SpecAugment (Park et al. 2019, https://arxiv.org/abs/1904.08779) as a model's configuration asks for it.

    transformers draws the masks from numpy's generator, and breaks where a span is longer than the clip: here they
    follow torch's seed, so that a run that goes on repeats them, and such a batch is not masked.
    """
    config: Any = model.config
    asked = getattr(config, "apply_spec_augment", False)
    if not (asked and model.training):
        yield
        return
    before = np.random.get_state()
    np.random.seed(int(torch.randint(2**31, ())))
    config.apply_spec_augment = config.mask_time_length <= num_positions
    try:
        yield
    finally:
        config.apply_spec_augment = asked
        np.random.set_state(before)


def _logits(
    model: PreTrainedModel, inputs: dict[str, Tensor]
) -> tuple[Float[Tensor, "batch frames vocabulary"], Int[Tensor, " batch"]]:
    """Logits of all frames, and how many of them are a row's own.

    A group norm over time would let padding change the answer, so rows of models that have one are heard one by one.
    """
    num_samples = inputs["attention_mask"].sum(-1)
    if getattr(model.config, "feat_extract_norm", None) == "group":
        rows = zip(inputs["input_values"], num_samples, strict=True)
        heard = [model(input_values=row[None, :length]).logits[0] for row, length in rows]
        logits = torch.nn.utils.rnn.pad_sequence(heard, batch_first=True)
    else:
        logits = model(**inputs).logits
    return logits.to(torch.promote_types(logits.dtype, torch.float32)), frame_counts(model, num_samples)


def _extracted(waves: Waves, processor: Processor, **how: Any) -> dict[str, Tensor]:
    """Features of waves at the extractor's own rate, and which of them are no padding."""
    extract, rate = extractor_of(processor), sampling_rate(processor)
    return dict(extract(list(waves), sampling_rate=rate, return_tensors="pt", return_attention_mask=True, **how))


def _case(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], str]:
    """What makes a text one that a vocabulary writes, where it has letters of one case alone."""
    letters = "".join(token for token in tokenizer.get_vocab() if len(token) == 1)
    return str.upper if letters.isupper() else str.lower if letters.islower() else str
