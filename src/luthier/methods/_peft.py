"""PEFT's folder for a LoRA: `adapter_config.json` and `adapter_model.safetensors`, written and read.

Written so that `peft.PeftModel.from_pretrained(base, folder)` gives the same logits; layers are named in full.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from luthier.data.places import public_name
from luthier.errors import MethodError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
TASK_TYPES = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForCausalLM": "CAUSAL_LM",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
}
UNREAD = (
    *("use_dora", "rank_pattern", "alpha_pattern", "layers_to_transform", "exclude_modules", "target_parameters"),
    *("lora_bias", "layer_replication", "trainable_token_indices", "alora_invocation_tokens", "use_qalora"),
    *("use_bdlora", "arrow_config", "kasa_config", "monteclora_config", "velora_config", "init_lora_weights"),
)
"""Settings of PEFT that change the result and that Luthier does not read."""
HARMLESS_STARTS = (True, False, "gaussian", "eva", "orthogonal")
"""Values of init_lora_weights that leave the base as it is; pissa, olora and others change its weights."""


def save(model: PreTrainedModel, folder: Path, settings: dict[str, Any], held_as: str) -> None:
    """Write every trainable parameter; `held_as` is the name under which an update hangs on its layer."""
    layers = [name for name, module in model.named_modules() if hasattr(module, held_as)]
    learnt = {name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}
    tensors = {_to_peft(name, layers, held_as): tensor for name, tensor in learnt.items()}
    owners = {name.rpartition(".")[0] for name in learnt}
    whole = {owner.partition(".")[0] for owner in owners & _heads(model) if not owner.endswith(f".{held_as}")}
    config = {
        "base_model_name_or_path": public_name(model.config._name_or_path),
        "task_type": next((t for end, t in TASK_TYPES.items() if type(model).__name__.endswith(end)), None),
        "target_modules": layers,
        "modules_to_save": sorted(whole) or None,
        "fan_in_fan_out": any(isinstance(model.get_submodule(name), Conv1D) for name in layers),
        "inference_mode": True,
        **settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def load(model: PreTrainedModel, folder: Path, held_as: str) -> None:
    """Read the weights into a model whose layers have their updates.

    Raises MethodError where the file holds other parameters than the model expects.
    """
    layers = [name for name, module in model.named_modules() if hasattr(module, held_as)]
    expected = {_to_peft(n, layers, held_as): n for n, p in model.named_parameters() if p.requires_grad}
    # With bias=all, PEFT writes a head's bias under three names and reads the plain one.
    copies = (".original_module.", ".modules_to_save.")
    tensors = {k: t for k, t in load_file(folder / WEIGHTS).items() if not any(copy in k for copy in copies)}
    odd = sorted(tensors.keys() ^ expected.keys())
    if odd:
        side = "has" if odd[0] in tensors else "lacks"
        raise MethodError(f"{folder / WEIGHTS}: {side} {odd[0]}, and {len(odd) - 1} more do not fit this model")
    with torch.no_grad():
        for key, tensor in tensors.items():
            _fitting(model.get_parameter(expected[key]), tensor, key, folder).copy_(tensor)


def read_settings(folder: Path) -> dict[str, Any]:
    """LoRA settings, under our names, of a folder that PEFT wrote.

    Raises MethodError where it is no LoRA, or uses a setting that Luthier does not read.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise MethodError(f"{folder}: holds no {CONFIG}")
    config = json.loads(path.read_text())
    if config.get("init_lora_weights") in HARMLESS_STARTS:
        del config["init_lora_weights"]
    unread = [name for name in UNREAD if config.get(name)]
    if config.get("peft_type") != "LORA" or unread:
        found = ", ".join(unread) or f"peft_type {config.get('peft_type')}"
        raise MethodError(f"{path}: {found} cannot be read; a plain LoRA can")
    targets = config["target_modules"]
    return {
        "rank": config["r"],
        "alpha": float(config["lora_alpha"]),
        "dropout": float(config.get("lora_dropout", 0.0)),
        "targets": (f"re:^(?:{targets})\\.",) if isinstance(targets, str) else tuple(sorted(targets)),
        "bias": {"none": "none", "all": "all", "lora_only": "targets"}[config.get("bias", "none")],
        "rank_stabilized": bool(config.get("use_rslora")),
    }


def _heads(model: PreTrainedModel) -> set[str]:
    """Modules outside the base, by name; of a model that is its own base, what gives the logits."""
    if model.base_model is model:
        return {name for name, module in model.named_modules() if module is model.get_output_embeddings()}
    base = model.base_model_prefix + "."
    return {name for name, _ in model.named_modules() if name and not (name + ".").startswith(base)}


def _to_peft(name: str, layers: list[str], held_as: str) -> str:
    owner, _, leaf = name.rpartition(".")
    if owner.endswith(f".{held_as}"):
        return f"{PREFIX}{owner.removesuffix(held_as)}lora_{leaf}.weight"
    return f"{PREFIX}{owner}.base_layer.{leaf}" if owner in layers else PREFIX + name


def _fitting(parameter: Tensor, tensor: Tensor, key: str, folder: Path) -> Tensor:
    if parameter.shape != tensor.shape:
        shapes = f"{tuple(tensor.shape)}, but this model needs {tuple(parameter.shape)}"
        raise MethodError(f"{folder / WEIGHTS}: {key} has shape {shapes}")
    return parameter
