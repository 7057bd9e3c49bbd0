"""Where a model's positions end: a table of them has a last row, computed ones (rotary, relative) go on."""

from torch import nn
from transformers import PreTrainedModel

from luthier.models.anatomy import own_modules

MOST_OFFSET = 2
"""Rows that some tables have before the first position (OPT, BART)."""


def table_of(body: PreTrainedModel) -> nn.Embedding | None:
    """The table of positions that a body looks up, told by its number of rows; None where it computes them."""
    limit = getattr(body.config, "max_position_embeddings", None)
    if limit is None or is_rotary(body):
        return None
    words = body.get_input_embeddings()
    tables = [module for _, module in own_modules(body) if isinstance(module, nn.Embedding) and module is not words]
    return next((table for table in tables if 0 <= table.num_embeddings - limit <= MOST_OFFSET), None)


def first_position(body: PreTrainedModel) -> int:
    """The position of a row's first token: RoBERTa's are counted from behind its padding."""
    table = table_of(body)
    return 0 if table is None or table.padding_idx is None else table.padding_idx + 1


def num_positions(body: PreTrainedModel) -> int | None:
    """How many tokens have a position; None where there is no end."""
    if table_of(body) is None:
        return None
    most: int = body.config.max_position_embeddings
    return most - first_position(body)


def is_rotary(body: nn.Module) -> bool:
    """Whether positions turn queries and keys, so that only differences count."""
    return any(name.rpartition(".")[2] == "inv_freq" for name, _ in body.named_buffers())
