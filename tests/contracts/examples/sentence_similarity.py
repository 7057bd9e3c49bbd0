"""Sentence similarity: pairs with a score, pairs that belong together, triplets, texts with labels."""

from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel

from luthier.tasks.sentence_similarity import SentenceSimilarity
from tests.contracts.examples._example import Example
from tests.tiny import WORDS, texts, tiny

RIGHT = ("bert", "roberta", "distilbert", "albert", "electra", "deberta-v2", "modernbert", "gpt2", "qwen2")
FAMILIES = (*((family, "right") for family in RIGHT), ("llama", "left"))
READY: dict[str, Any] = {"pooling": "mean", "normalize": False, "max_length": 64}
ROWS: dict[str, dict[str, Any]] = {
    "scored": {
        "text": texts(12),
        "text_pair": texts(12, seed=1),
        "score": np.random.default_rng(0).random(12).tolist(),
    },
    "pairs": {"anchor": texts(12), "positive": texts(12, seed=1)},
    "triplets": {"anchor": texts(12), "positive": texts(12, seed=1), "negative": texts(12, seed=2)},
    "labelled": {"text": texts(12), "label": [f"c{number % 3}" for number in range(12)]},
}


def build(family: str) -> PreTrainedModel:
    return tiny(family, head="base")


def easy(kind: str) -> Dataset:
    """Rows whose words tell what belongs together."""
    words = [WORDS[number] for number in range(12)]
    repeated = [" ".join([word] * 4) for word in words]
    if kind == "scored":
        pairs = [(repeated[n], repeated[n if n % 2 else (n + 1) % 12]) for n in range(12)]
        return Dataset.from_dict(
            {"text": [a for a, _ in pairs], "text_pair": [b for _, b in pairs], "score": [0.0, 1.0] * 6}
        )
    return Dataset.from_dict(ROWS[kind])


def _made(kind: str, **settings: Any) -> Example:
    objective = "squared" if kind in ("scored", "labelled") else "contrast"
    said = {"rows": kind, "objective": objective, **READY, **settings}
    if kind == "scored":
        said["score_range"] = (0.0, 1.0)
    families = FAMILIES if kind == "scored" else (("bert", "right"), ("llama", "left"))
    task = SentenceSimilarity.model_validate(said)
    return Example(kind, task, Dataset.from_dict(ROWS[kind]), build, families=families, easy=easy(kind))


EXAMPLES = [_made("scored"), _made("pairs"), _made("triplets", dimensions=(8, 32)), _made("labelled")]
