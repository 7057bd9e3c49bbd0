"""Tiny bases and LoRAs of them that PEFT made, with random numbers as if they had learnt."""

from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor
from transformers import PreTrainedModel

from luthier.merging.parents.checkpoint import Folder
from tests.tiny import tiny

HEADS = {"bert": "base", "llama": "lm", "gpt2": "lm"}
TARGETS = {
    "bert": ["query", "value", "output.dense"],
    "llama": ["q_proj", "v_proj", "down_proj"],
    "gpt2": ["c_attn", "c_proj"],
}
FAMILIES = list(HEADS)
Base = PreTrainedModel


def base(family: str, **settings: Any) -> PreTrainedModel:
    return tiny(family, head=HEADS[family], **settings)


def shake(model: torch.nn.Module, seed: int, size: float = 0.1) -> None:
    """Every trainable parameter takes a random value, as if it had learnt."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def lora(family: str, folder: Path, seed: int, *, of: PreTrainedModel | None = None, **said: Any) -> Path:
    """A LoRA's folder; more settings are PEFT's."""
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": TARGETS[family], **said})
    torch.manual_seed(seed)
    model = peft.get_peft_model(of or base(family), config)
    shake(model, seed)
    model.save_pretrained(folder)
    return folder


def many(family: str, folder: Path, num: int = 3, **said: Any) -> list[Path]:
    return [lora(family, folder / f"lora{seed}", seed, **said) for seed in range(num)]


def saved(model: PreTrainedModel, folder: Path) -> Folder:
    model.save_pretrained(folder)
    return Folder(folder, folder.name)


@torch.no_grad()
def answers(model: Any) -> Tensor:
    """For a few random words."""
    words = torch.randint(3, 60, (3, 9), generator=torch.Generator().manual_seed(7))
    return model.eval()(input_ids=words)[0]


def of_peft(family: str, folder: Path) -> Tensor:
    return answers(peft.PeftModel.from_pretrained(base(family), folder))


def products(
    family: str, folders: list[Path], combined_as: str, weights: list[float], **said: Any
) -> dict[str, Tensor]:
    """scale B A of each layer after PEFT's add_weighted_adapter."""
    model = peft.PeftModel.from_pretrained(base(family), folders[0], adapter_name="0")
    names = [str(number) for number in range(len(folders))]
    for name in names[1:]:
        model.load_adapter(folders[int(name)], adapter_name=name)
    torch.manual_seed(0)
    model.add_weighted_adapter(names, weights, "all", combination_type=combined_as, **said)
    found = {}
    for name, module in model.base_model.model.named_modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            A, B = (
                (module.lora_A, module.lora_B)
                if "all" in module.lora_A
                else (module.lora_embedding_A, module.lora_embedding_B)
            )
            A, B = (each["all"] if isinstance(each["all"], Tensor) else each["all"].weight for each in (A, B))
            found[name] = (module.scaling["all"] * B @ A).detach()
    return found
