"""Causal language modelling of prompts, raw and through a template."""

from datasets import Dataset
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.tasks._templates import NAMED
from luthier.tasks.causal_lm import CausalLM
from tests.contracts.examples._example import Example
from tests.templates import VOCABULARY, tokenizer
from tests.tiny import texts, tiny

OTHERS = ("gpt_neox", "mistral", "qwen2", "gemma3_text", "phi3", "opt", "bloom", "mixtral")
FAMILIES = (("gpt2", "right"), ("llama", "left"), *((family, "right") for family in OTHERS))


def _build(family: str) -> PreTrainedModel:
    positions = {"n_positions": 512} if family == "gpt2" else {}
    return tiny(family, head="lm", **VOCABULARY | positions)


def _made(name: str, asked: str, answer: str, template: str | None) -> Example:
    rows = Dataset.from_dict({asked: texts(12, longest=6), answer: texts(12, longest=8, seed=1)})
    settings = {"generation": {"max_new_tokens": 3}, "max_length": 120, "generate": True}
    task = CausalLM.model_validate(settings).resolve(Facts(train=rows))
    return Example(name, task, rows, _build, lambda side: tokenizer(template, padding_side=side), families=FAMILIES)


EXAMPLES = [
    _made("prompt", "prompt", "completion", None),
    _made("instruction", "instruction", "output", NAMED["plain"]),
]
