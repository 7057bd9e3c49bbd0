"""PEFT's folders, `adapter_config.json` and `adapter_model.safetensors`: what all its methods share.

Written so that `peft.PeftModel.from_pretrained(base, folder)` gives the same logits.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.data.places import public_name
from luthier.errors import MethodError
from luthier.methods import read_json
from luthier.methods._parts import Part

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""Of every tensor's name."""
CLASSIFIERS = {
    "SEQ_CLS": ("classifier", "score"),
    "TOKEN_CLS": ("classifier", "score"),
    "QUESTION_ANS": ("qa_outputs",),
}
"""Modules that PEFT itself adds to those that learn whole: here heads do so unasked."""
TASK_TYPES = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
    "MTModel": "SEQ_2_SEQ_LM",
}


def write(model: PreTrainedModel, folder: Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """A folder of tensors under PEFT's names, and PEFT's settings with what the base model is."""
    config = {
        "base_model_name_or_path": public_name(model.config._name_or_path),
        "task_type": task_type(model),
        "inference_mode": True,
        **settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    # What is tied has several names, and the file holds no tensor twice but as a copy.
    plain = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    save_file(plain, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def task_type(model: PreTrainedModel) -> str | None:
    """PEFT's word for what a model's head is for; None where it has none."""
    return next((word for end, word in TASK_TYPES.items() if type(model).__name__.endswith(end)), None)


def read_config(folder: Path, peft_type: str, unread: Iterable[str] = ()) -> dict[str, Any]:
    """PEFT's settings in a folder of one of its methods.

    Raises MethodError where it is of another method, or where a setting of `unread` is in use: one that changes the
    result and that Luthier does not read.
    """
    path = folder / CONFIG
    config = read_json(path)
    found = [name for name in unread if config.get(name)]
    if config.get("peft_type") != peft_type:
        raise MethodError(f"{path}: peft_type {config.get('peft_type')} cannot be read as {peft_type}")
    if found:
        raise MethodError(f"{path}: {', '.join(found)} cannot be read; a plain {peft_type} can")
    return config


def targets(said: str | list[str]) -> tuple[str, ...]:
    """Selectors of the layers that PEFT names in a list, or with a regular expression."""
    if isinstance(said, str):
        return (said,) if said == "all-linear" else (f"re:^(?:{said})\\.",)
    return tuple(sorted(map(selector, said)))


def selector(name: str) -> str:
    """The selector of the modules whose name ends so; PEFT takes regular expressions for ranks and alphas."""
    return name if re.fullmatch(r"\w+(\.\w+)*", name) else rf"re:^(?:.*\.)?(?:{name})\.[^.]+$"


def also_trained(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Selectors of the modules that learn whole, but for those that PEFT adds by itself; a name's end says which."""
    usual = CLASSIFIERS.get(config.get("task_type") or "", ())
    return tuple(rf"re:{re.escape(name)}\." for name in config.get("modules_to_save") or () if name not in usual)


def learnt_whole(model: PreTrainedModel) -> list[str]:
    """The outermost modules of the base all of whose parameters learn: heads and others; of parts that hang, none."""
    found: list[str] = []
    for name, module in model.named_modules():
        inside = name.startswith(tuple(f"{outer}." for outer in found))
        parameters = list(module.parameters())
        is_whole = parameters and all(parameter.requires_grad for parameter in parameters)
        if is_whole and not inside and not any(isinstance(each, Part) for each in _above(model, name)):
            found.append(name)
    return sorted(found)


def _above(model: PreTrainedModel, name: str) -> Iterator[nn.Module]:
    """A module and all that it lies in."""
    module: nn.Module = model
    for part in name.split("."):
        module = module.get_submodule(part)
        yield module


def read_into(places: Mapping[str, Tensor], folder: Path, copies: Mapping[str, Tensor] | None = None) -> None:
    """The folder's tensors into those of the same names; what `copies` names may be there.

    Raises MethodError where the file holds other names or shapes than are expected, or differing values for what is
    one tensor here under several names.
    """
    # With bias=all, PEFT writes a head's bias under three names and reads the plain one.
    doubled = (".original_module.", ".modules_to_save.")
    tensors = {k: t for k, t in load_file(folder / WEIGHTS).items() if not any(copy in k for copy in doubled)}
    places = {**places, **{name: tensor for name, tensor in (copies or {}).items() if name in tensors}}
    given = {id(places[name]) for name in tensors if name in places}
    odd = sorted(name for name in tensors.keys() ^ places.keys() if id(places.get(name)) not in given)
    if odd:
        side = "has" if odd[0] in tensors else "lacks"
        raise MethodError(f"{folder / WEIGHTS}: {side} {odd[0]}, and {len(odd) - 1} more do not fit this model")
    written: dict[int, str] = {}
    for name, tensor in tensors.items():
        if places[name].shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)}, but this model needs {tuple(places[name].shape)}"
            raise MethodError(f"{folder / WEIGHTS}: {name} has shape {shapes}")
        first = written.setdefault(id(places[name]), name)
        if first != name and not torch.equal(tensors[first], tensor):
            raise MethodError(f"{folder / WEIGHTS}: {first} and {name} differ, but are one tensor in this model")
    with torch.no_grad():
        for name, tensor in tensors.items():
            places[name].copy_(tensor)
