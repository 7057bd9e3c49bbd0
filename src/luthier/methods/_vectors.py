"""The vectors of prepared rows, in fp32, each computed once."""

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float
from numpy import ndarray
from transformers import PreTrainedModel

from luthier.data.batching import Batching
from luthier.models.flat import is_laid
from luthier.models.memory import in_halves
from luthier.models.processor import Processor
from luthier.tasks.sentence_similarity import SentenceSimilarity


@torch.inference_mode()
def vectors_of(
    model: PreTrainedModel,
    task: SentenceSimilarity,
    rows: Dataset,
    processor: Processor,
    *,
    batch_size: int,
    batch_tokens: int | None = None,
) -> Float[ndarray, "rows width"]:
    """One for each row of a single text; the model's mode is left as it was found."""
    was_training = model.training
    model.eval()
    order, parts = list[Any](), list[Any]()

    def embedded(numbers: Any) -> list[Any]:
        batch = task.collate(rows[numbers], processor).to(model.device)
        return list(task.embed(model, batch)[:, 0].float().cpu().numpy())

    for numbers in Batching(rows["length"][:], batch_size, batch_tokens, is_flat=is_laid(model)).sorted():
        order.append(numbers)
        parts += in_halves(numbers, embedded)
    model.train(was_training)
    found = np.empty((len(rows), parts[0].shape[-1]), dtype=np.float32)
    found[np.concatenate(order)] = np.stack(parts)
    return found
