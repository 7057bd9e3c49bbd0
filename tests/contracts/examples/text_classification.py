"""Text classification, each of its problems."""

from tests.contracts.examples._example import Example
from tests.tiny import PROBLEMS, classification, model_for, rows

FAMILIES = (("bert", "right"), ("gpt2", "right"), ("llama", "left"), ("t5", "right"))


def _made(problem: str) -> Example:
    task = classification(problem)
    return Example(problem, task, rows(12, problem), lambda family: model_for(task, family), families=FAMILIES)


EXAMPLES = [_made(problem) for problem in PROBLEMS]
