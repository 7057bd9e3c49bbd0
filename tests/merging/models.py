"""Tiny models' folders to merge: a base, and children that differ from it everywhere."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from tests.tiny import tokenizer


def llama(seed: int = 0, **settings: Any) -> PreTrainedModel:
    """A Llama of three blocks."""
    words = tokenizer()
    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4}
    return AutoModelForCausalLM.from_config(
        LlamaConfig(**{**shape, "vocab_size": len(words), "pad_token_id": words.pad_token_id, **settings})
    )


def child(model: PreTrainedModel, seed: int, *, by: float = 0.02) -> PreTrainedModel:
    """A model a little away from another one, in every weight."""
    made = type(model)(model.config)
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: tensor + by * torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    made.load_state_dict(state)
    made.tie_weights()
    return made


def saved(model: PreTrainedModel, folder: Path, **how: Any) -> Path:
    """A model's folder, with the tiny tokenizer."""
    model.save_pretrained(folder, **how)
    tokenizer().save_pretrained(folder)
    return folder


def family(folder: Path, *, num: int = 2, **settings: Any) -> dict[str, Path]:
    """`base` and its children `a`, `b`, ..."""
    base = llama(**settings)
    made = {"base": saved(base, folder / "base")}
    for number in range(num):
        name = "abcdef"[number]
        made[name] = saved(child(base, number + 1), folder / name)
    return made
