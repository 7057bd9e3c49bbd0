"""Token classification: words with tags of entities, in windows too; texts with spans; parts of speech."""

import json

import numpy as np
from datasets import Dataset

from luthier.component import Facts
from luthier.tasks.token_classification import TokenClassification
from tests.contracts.examples._example import Example
from tests.tiny import WORDS, tiny

ENCODERS = ("bert", "roberta", "distilbert", "albert", "electra", "deberta-v2", "modernbert")
DECODERS = ("gpt2", "gpt_neox", "mistral", "qwen2", "phi3", "bloom", "mixtral")
FAMILIES = (*((family, "right") for family in (*ENCODERS, *DECODERS)), ("llama", "left"))


def tagged(num_rows: int, *, longest: int = 12, seed: int = 0) -> Dataset:
    """Sentences of random words; each begins with a person of two words, a place and a word outside."""
    random = np.random.default_rng(seed)
    tokens, tags = [], []
    for _ in range(num_rows):
        num_more = int(random.integers(0, longest - 3))
        tokens.append(random.choice(WORDS, size=4 + num_more).tolist())
        tags.append(["B-PER", "I-PER", "B-LOC", "O", *(["O", "B-LOC"] * num_more)[:num_more]])
    return Dataset.from_dict({"tokens": tokens, "tags": tags})


def spanned(num_rows: int) -> Dataset:
    """The same as texts, whose first two words are a person."""
    texts = [" ".join(words) for words in tagged(num_rows)["tokens"]]
    ends = [len(" ".join(text.split()[:2])) for text in texts]
    spans = [json.dumps([{"start": 0, "end": end, "label": "PER"}]) for end in ends]
    return Dataset.from_dict({"text": texts, "spans": spans})


def spoken(num_rows: int) -> Dataset:
    """Parts of speech, two of them in turn."""
    tokens = tagged(num_rows)["tokens"]
    return Dataset.from_dict({"tokens": tokens, "tags": [(["NN", "VB"] * len(t))[: len(t)] for t in tokens]})


def _made(name: str, rows: Dataset, **settings: object) -> Example:
    task = TokenClassification.model_validate(settings).resolve(Facts(train=rows))
    head = {"head": "token-classification", "num_labels": len(task.tags)}
    return Example(name, task, rows, lambda family: tiny(family, **head, **task.configuration()), families=FAMILIES)


EXAMPLES = [
    _made("words", tagged(12), stride=32),
    _made("windows", tagged(12, longest=40), max_length=12, stride=4, label_subwords="all"),
    _made("spans", spanned(12), stride=32),
    _made("plain", spoken(12), stride=32),
]
