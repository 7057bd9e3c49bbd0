"""What a decoder writes behind the beginnings of rows, as text."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.tasks._language import Generation, generate


def continued(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: Int[Tensor, "batch seq"],
    contexts: Sequence[int],
    generation: Generation,
) -> list[str | None]:
    """What the model writes after the first so many tokens of each row; None where they are none.

    Contexts are padded on their left, and lose their beginning where model and answer leave them no room.
    """
    texts: list[str | None] = [None] * len(ids)
    numbers = [number for number, context in enumerate(contexts) if context]
    if not numbers:
        return texts
    most: int = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    new = min(generation.max_new_tokens, most - 1)
    before = [ids[number, : contexts[number]][-(most - new) :] for number in numbers]
    inputs = {
        "input_ids": pad_sequence(before, True, tokenizer.pad_token_id or 0, "left"),
        "attention_mask": pad_sequence([torch.ones_like(each) for each in before], True, 0, "left"),
    }
    written = generate(model, inputs, generation, max_new_tokens=new)[:, inputs["input_ids"].shape[1] :]
    for number, context, answer in zip(numbers, before, written, strict=True):
        texts[number] = _words(tokenizer, context, answer)
    return texts


def _words(tokenizer: PreTrainedTokenizerBase, before: Int[Tensor, " before"], after: Int[Tensor, " after"]) -> str:
    """New tokens as text, decoded behind their context: some tokenizers drop a blank at a text's beginning."""
    context = str(tokenizer.decode(before, skip_special_tokens=True))
    whole = str(tokenizer.decode(torch.cat([before, after]), skip_special_tokens=True))
    return (
        whole[len(context) :] if whole.startswith(context) else str(tokenizer.decode(after, skip_special_tokens=True))
    )
