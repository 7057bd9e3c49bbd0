"""What tests of methods that PEFT has too share: tiny models of four shapes, as if they had learnt."""

from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.methods import Method
from tests.tiny import batch, classification, model_for, rows, tiny

TASK = classification()
FAMILIES = ("bert", "gpt2", "llama", "t5")
TASK_TYPES = {"t5": "SEQ_2_SEQ_LM"}


def fresh(family: str, *, head: str | None = None) -> PreTrainedModel:
    """A classifier; of T5 an encoder with a decoder that writes."""
    if head is None and family != "t5":
        return model_for(TASK, family)
    return tiny(family, head=head or "lm")


@torch.no_grad()
def logits(model: Any) -> Tensor:
    inputs = dict(batch(TASK, rows(6)).inputs)
    if model.config.is_encoder_decoder:
        inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        inputs["decoder_input_ids"] = inputs["input_ids"].flip(0)
    elif type(model).__name__.endswith(("LMHeadModel", "ForCausalLM")):
        inputs.pop("token_type_ids", None)
    return model.eval()(**inputs).logits


def shake(model: nn.Module, *, seed: int = 1, spread: float = 0.1) -> None:
    """Every trainable parameter takes a random value, as if it had learnt."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(spread * torch.randn(parameter.shape, generator=generator))


def learnt(family: str, method: Method, *, head: str | None = None) -> PreTrainedModel:
    model = fresh(family, head=head)
    method.apply(model, generator=torch.Generator().manual_seed(0))
    shake(model)
    return model.eval()


def loaded(family: str, method: Method, folder: Path, *, head: str | None = None) -> PreTrainedModel:
    """A model into which a folder was read."""
    model = fresh(family, head=head)
    method.apply(model, generator=torch.Generator().manual_seed(5))
    method.load(model, folder)
    return model.eval()


def read_by_peft(family: str, folder: Path, *, head: str | None = None) -> Any:
    return peft.PeftModel.from_pretrained(fresh(family, head=head), folder)


def by_peft(family: str, kind: type[peft.PeftConfig], *, head: str | None = None, **said: Any) -> Any:
    """A model of PEFT's, as if it had learnt."""
    task_type = TASK_TYPES.get(family) if head is None else None
    config = kind(task_type=task_type or (None if head else "SEQ_CLS"), **said)
    model = peft.get_peft_model(fresh(family, head=head), config)
    shake(model)
    return model


def assert_alike(one: Any, other: Any) -> None:
    """Equal logits, to rounding in fp32."""
    torch.testing.assert_close(logits(one), logits(other), rtol=0, atol=1e-5)
