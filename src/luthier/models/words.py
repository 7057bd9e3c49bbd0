"""A model's tables of words: where they are, and how new words get into them."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from luthier.errors import MethodError
from luthier.models.processor import Processor, tokenizer_of

LEARNT_WORDS = "learnt_words"
"""The attribute that keeps, on a model, the words whose rows are to be learnt, with their numbers."""


def word_tables(model: PreTrainedModel) -> dict[str, nn.Embedding]:
    """The embeddings that words are looked up in, by name: one, or one for the encoder and one for the decoder."""
    sides = [model]
    if model.config.is_encoder_decoder:
        sides = [side for side in (model.get_encoder(), model.get_decoder()) if side is not None]
    tables = [_table_of(side) for side in sides]
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Embedding) and any(m is t for t in tables)}


def _table_of(model: PreTrainedModel) -> nn.Module | None:
    try:
        return model.get_input_embeddings()
    except NotImplementedError:  # it hears, and knows no words
        return None


def tied_with(model: nn.Module, weight: nn.Parameter) -> dict[str, nn.Module]:
    """Every module whose weight is this very tensor, by name."""
    return {name: m for name, m in model.named_modules() if m._parameters.get("weight") is weight}


def add_words(model: PreTrainedModel, processor: Processor, words: Sequence[str], *, where: str) -> None:
    """Make the words known to tokenizer and model, and remember on the model that their rows are to be learnt.

    What the tokenizer lacks is added; its rows are the mean of those that were there, which stay as they were.
    Raises MethodError where the model has several tables that are not tied.
    """
    tables = {id(table.weight) for table in word_tables(model).values()}
    if len(tables) != 1:
        raise MethodError(f"{where}: this model has {len(tables)} tables of words that differ; new words need one")
    tokenizer = tokenizer_of(processor)
    num_known, num_rows = len(tokenizer), _num_rows(model)
    tokenizer.add_tokens(list(words))
    numbers = dict(zip(words, cast(list[int], tokenizer.convert_tokens_to_ids(list(words))), strict=True))
    new = [number for number in numbers.values() if number >= min(num_known, num_rows)]
    if len(tokenizer) > num_rows:
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # what is drawn for new rows is overwritten below
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for tensor in _tensors(model):
        _start_at_the_mean(tensor, new, min(num_known, num_rows))
    setattr(model, LEARNT_WORDS, numbers)


def learnt_words(model: nn.Module) -> dict[str, int]:
    """The words whose rows are to be learnt, with their numbers."""
    words: dict[str, int] = getattr(model, LEARNT_WORDS, {})
    return words


def _num_rows(model: PreTrainedModel) -> int:
    return next(iter(word_tables(model).values())).num_embeddings


def _tensors(model: PreTrainedModel) -> list[nn.Parameter]:
    """Those with a row for each word: the table, the head and its bias; each once."""
    layers = [next(iter(word_tables(model).values())), model.get_output_embeddings()]
    found = [p for layer in layers if layer is not None for p in layer._parameters.values() if p is not None]
    return list({id(p): p for p in found}.values())


@torch.no_grad()
def _start_at_the_mean(tensor: nn.Parameter, new: Sequence[int], num_old: int) -> None:
    mean = tensor[:num_old].float().mean(0).to(tensor.dtype)
    for number in new:
        tensor[number] = mean
