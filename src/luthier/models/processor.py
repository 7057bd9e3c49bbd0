"""What makes a model's inputs of rows: a tokenizer, or for speech a feature extractor with one."""

import transformers
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from luthier.errors import ModelError
from luthier.models import gguf, plugins, trust
from luthier.models.place import place_of, told
from luthier.models.source import ModelSource

Processor = PreTrainedTokenizerBase | ProcessorMixin


def tokenizer_of(processor: Processor) -> PreTrainedTokenizerBase:
    """The tokenizer, or the one inside."""
    if isinstance(processor, PreTrainedTokenizerBase):
        return processor
    tokenizer: PreTrainedTokenizerBase = processor.tokenizer
    return tokenizer


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """The tokenizer, with a padding token.

    Raises ModelError where there is none.
    """
    plugins.register()
    place = place_of(source)
    with told(source.name), trust.no_pickles(source.name), gguf.opened(place) as opened:
        tokenizer = transformers.AutoTokenizer.from_pretrained(**opened, trust_remote_code=False)
    if not isinstance(tokenizer, PreTrainedTokenizerBase):  # a file may name any class of transformers
        raise ModelError(f"model.name: {source.name} cannot be loaded: its tokenizer is a {type(tokenizer).__name__}")
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):  # what transformers makes of no file at all
        raise ModelError(f"model.name: {source.name} cannot be loaded: it has no tokenizer files that are known")
    if tokenizer.pad_token is None:
        # Any token serves, as padded positions are masked; unk before eos, so that a text's own end stays.
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer
