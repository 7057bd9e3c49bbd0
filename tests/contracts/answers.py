"""Answers of every form that a metric reads, as right or wrong as a test wants, with what they are compared with."""

from collections.abc import Callable
from typing import Any

import numpy as np

from luthier.tasks import Prediction
from tests.tiny import WORDS

Answers = tuple[list[Prediction], list[Any]]
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def of_labels(num_rows: int, wrong: float, random: np.random.Generator) -> Answers:
    """One of three labels, its probability and its loss."""
    targets = random.integers(3, size=num_rows)
    scores = np.eye(3)[targets] * (2 - wrong) + wrong * random.random((num_rows, 3))
    scores /= scores.sum(-1, keepdims=True)
    losses = -np.log(scores[np.arange(num_rows), targets])
    chosen = scores.argmax(-1)
    hits = (chosen == targets).astype(float)
    made = zip(chosen.tolist(), map(tuple, scores.tolist()), losses.tolist(), hits.tolist(), strict=True)
    found = [Prediction(value, row, loss, 1.0, hit) for value, row, loss, hit in made]
    return found, targets.tolist()


def of_numbers(num_rows: int, wrong: float, random: np.random.Generator) -> Answers:
    """A number."""
    targets = random.normal(size=num_rows)
    guesses = targets + wrong * random.normal(size=num_rows)
    pairs = zip(guesses.tolist(), targets.tolist(), strict=True)
    return [Prediction(guess, (), (guess - target) ** 2, 1.0) for guess, target in pairs], targets.tolist()


def of_places(num_rows: int, wrong: float, random: np.random.Generator) -> Answers:
    """Where a search finds the two texts that are relevant to each row."""
    firsts = 1 + (random.random(num_rows) < wrong / 2) * random.integers(1, 20, size=num_rows)
    found = [{"relevant": 2, "places": [int(first), int(first) + 1]} for first in firsts]
    return [Prediction(value) for value in found], [0] * num_rows


def of_texts(num_rows: int, wrong: float, random: np.random.Generator) -> Answers:
    """Sentences of four to twelve words, some of which are other ones."""
    targets = [random.choice(WORDS, size=random.integers(4, 13)) for _ in range(num_rows)]
    guesses = [
        np.where(random.random(len(t)) < wrong / 4, random.choice(WORDS, size=len(t)), t).tolist() for t in targets
    ]
    return [Prediction(" ".join(words)) for words in guesses], [" ".join(words) for words in targets]


def of_tags(num_rows: int, wrong: float, random: np.random.Generator) -> Answers:
    """The tag of each word of a sentence, by name: two entities, some words of which have another tag."""
    targets = []
    for _ in range(num_rows):
        first, second = random.choice(["PER", "LOC"], size=2)
        outside = ["O"] * int(random.integers(1, 5))
        targets.append(["O", f"B-{first}", f"I-{first}", *outside, f"B-{second}", "O"])
    guesses = [[str(random.choice(TAGS)) if random.random() < wrong / 4 else tag for tag in tags] for tags in targets]
    return [Prediction(tuple(tags)) for tags in guesses], targets


WRITTEN = (
    "exact-match",
    "answer-f1",
    "bleu",
    "chrf",
    "ter",
    "rouge-1",
    "rouge-2",
    "rouge-l",
    "rouge-lsum",
    "wer",
    "cer",
)
FORMS: dict[str, Callable[[int, float, np.random.Generator], Answers]] = {
    **dict.fromkeys(("mse", "spearman", "pearson"), of_numbers),
    **dict.fromkeys(("mrr", "ndcg", "recall-at"), of_places),
    **dict.fromkeys(WRITTEN, of_texts),
    **dict.fromkeys(("entity-f1", "entity-precision", "entity-recall", "tag-accuracy"), of_tags),
}
"""The form that a kind of metric reads, where it is not labels."""
BEST = {"loss": 0.0, "mse": 0.0, "perplexity": 1.0, "bleu": 100.0, "chrf": 100.0, "ter": 0.0, "wer": 0.0, "cer": 0.0}
"""The best value of a metric where it is not 1."""


def answers(kind: str, num_rows: int = 60, *, wrong: float = 1.0, seed: int = 0) -> Answers:
    """Predictions and references for a metric; with `wrong` at zero every prediction is right, and sure."""
    return FORMS.get(kind, of_labels)(num_rows, wrong, np.random.default_rng(seed))
