"""Text classification, each of its problems."""

from tests.contracts.examples._example import Example
from tests.tiny import FAMILIES, PROBLEMS, classification, model_for, rows

NO_TEXT = {"whisper", "wav2vec2"}
NO_HEAD = {"marian"}
"""transformers builds no classifier of these."""
LEFT = {"llama", "xlnet"}
"""Padded on the left; xlnet knows no other way."""


def _made(problem: str) -> Example:
    task = classification(problem)
    all_of_them = sorted(FAMILIES.keys() - NO_TEXT - NO_HEAD)
    families = ["bert", *(f for f in all_of_them if f != "bert")] if problem == "single-label" else ["bert", "llama"]
    padded = tuple((family, "left" if family in LEFT else "right") for family in families)
    return Example(problem, task, rows(12, problem), lambda family: model_for(task, family), families=padded)


EXAMPLES = [_made(problem) for problem in PROBLEMS]
