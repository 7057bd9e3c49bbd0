"""Text to text, on encoder-decoders and on two encoders put together."""

import torch
from datasets import Dataset
from transformers import EncoderDecoderConfig, EncoderDecoderModel, PreTrainedModel

from luthier.tasks.seq2seq import Seq2seq
from tests.contracts.examples._example import Example
from tests.tiny import texts, tiny, tokenizer

TASK = Seq2seq.model_validate({"max_source_length": 64, "max_target_length": 16, "generation": {"max_new_tokens": 6}})


def rows(num_rows: int = 12) -> Dataset:
    """Texts that become their first words."""
    sources = texts(num_rows)
    return Dataset.from_dict({"source": sources, "target": [" ".join(text.split()[:4]) for text in sources]})


def two_in_one() -> PreTrainedModel:
    """An EncoderDecoderModel of two BERTs, the decoder's narrower."""
    encoder, decoder = (tiny("bert", head="base", hidden_size=width).config for width in (32, 16))
    config = EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return EncoderDecoderModel(config).eval()


def build(family: str, task: Seq2seq = TASK) -> PreTrainedModel:
    """A tiny model under the task."""
    model = two_in_one() if family == "encoder-decoder" else tiny(family, head="lm")
    model.config.pad_token_id = 0
    task.fit(model, tokenizer())
    return model


FAMILIES = (("t5", "right"), ("bart", "left"), ("marian", "right"), ("encoder-decoder", "right"))
EXAMPLES = [Example("first-words", TASK, rows(), build, families=FAMILIES)]
