"""What tests of prefixes and prompts share: models whose learnt tensors are far from their start, and rows."""

from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor
from transformers import PreTrainedModel

from luthier.methods import Method
from tests.methods.learnt import shake
from tests.tiny import FAMILIES, tiny

GEMMA2 = FAMILIES["llama"] | {"head_dim": 8, "sliding_window": 4}
DECODERS = ("gpt2", "gpt_neox", "llama", "mistral", "qwen2", "gemma2", "gemma3_text", "phi3", "opt", "mixtral")
BOTH = ("t5", "bart", "marian")
LENGTH = 5
"""Of what PEFT writes."""


def learnt(family: str, head: str, method: Method, **settings: Any) -> PreTrainedModel:
    """A model whose learnt tensors are far from their start."""
    model = tiny(family, head=head, **settings)
    method.apply(model, generator=torch.Generator().manual_seed(0))
    shake(model, spread=0.5)
    return model


def tokens(num_rows: int = 2, length: int = 7) -> Tensor:
    return torch.randint(3, 64, (num_rows, length), generator=torch.Generator().manual_seed(2))


def inputs(model: PreTrainedModel, ids: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
    given = {"input_ids": ids, **({} if mask is None else {"attention_mask": mask})}
    return {**given, "decoder_input_ids": ids[:, :5]} if model.config.is_encoder_decoder else given


def padded(model: PreTrainedModel) -> dict[str, Tensor]:
    """Rows of 7 and 4 tokens, padded on the right but for PEFT's classifiers, which cannot find the end of a row."""
    ids = tokens()
    mask = torch.ones_like(ids)
    if not type(model).__name__.endswith("ForSequenceClassification"):
        mask[1, 4:] = 0
        ids[1, 4:] = model.config.pad_token_id or 0
    return inputs(model, ids, mask)


@torch.no_grad()
def logits(model: Any, base: PreTrainedModel | None = None) -> Tensor:
    """Those of real tokens; PEFT gives those of its prompt too."""
    given = padded(base or model)
    answer: Tensor = model.eval()(**given).logits
    if answer.ndim == 2 or "decoder_input_ids" in given:
        return answer
    return answer[:, -given["input_ids"].shape[1] :][given["attention_mask"].bool()]


def made_by_peft(kind: type[peft.PeftConfig], family: str, head: str, task: str, folder: Path, **said: Any) -> Tensor:
    """A folder that PEFT saved; -> what PEFT predicts."""
    base = tiny(family, head=head)
    model = peft.get_peft_model(base, kind(task_type=task, num_virtual_tokens=LENGTH, **said))
    shake(model, spread=0.5)
    model.save_pretrained(folder)
    return logits(model, base)


def read_from(folder: Path, method: Method, family: str, head: str) -> PreTrainedModel:
    """A fresh model with what a folder holds."""
    model = tiny(family, head=head)
    method.apply(model, generator=torch.Generator())
    method.load(model, folder)
    return model
