"""What a downloaded model may not do: choose code, kernels or other files, open a pickle, or lack its own weights.

transformers lets a `config.json` name an attention or expert implementation (a kernel that is fetched and run,
CVE-2026-4372), code beside the model, a quantiser and the file that holds the weights, even one that is a pickle.
"""

import contextlib
import json
import shlex
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from transformers import PreTrainedModel

from luthier.errors import ModelError
from luthier.models import gguf

CHOOSES_CODE = {
    *("auto_map", "trust_remote_code", "custom_pipelines", "configuration_files", "transformers_weights", "model_file"),
    *("attn_implementation", "experts_implementation", "use_kernels", "kernel_config", "base_model_name_or_path"),
}
"""Keys of a `config.json` that are left out wherever they stand; so is each key that begins with `_`."""
QUANTISED = ("quantization_config", "compression_config")

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""Endings of files that may run code when they are opened."""
NO_WEIGHTS = ("training_args", "optimizer", "scheduler", "rng_state", "scaler")
"""Beginnings of pickles that the Trainer writes beside a model."""

CONVERSION = (
    "import sys, torch; from safetensors.torch import save_file; "
    "save_file({k: v.clone() for f in sys.argv[2:] for k, v in "
    "torch.load(f, map_location='cpu', weights_only=True).items()}, sys.argv[1], {'format': 'pt'})"
)
"""What a user types, of their own will, to have weights out of pickles."""


def harmless(config: Any, name: str) -> Any:
    """A `config.json` without whatever chooses code, at any depth.

    Raises ModelError where its weights are quantised: a quantiser is code as well.
    """
    if isinstance(config, list):
        return [harmless(each, name) for each in config]
    if not isinstance(config, dict):
        return config
    quantised = next((config[key] for key in QUANTISED if config.get(key)), None)
    if quantised is not None:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else None
        kind = f" ({method[:30]})" if isinstance(method, str) else ""
        raise ModelError(
            f"model.name: {name} holds quantised weights{kind}; Luthier quantises plain ones "
            "itself (model.quantize=nf4). Name the model that it was made from"
        )
    kept = {key: value for key, value in config.items() if key not in CHOOSES_CODE and not key.startswith("_")}
    return {key: harmless(value, name) for key, value in kept.items()}


def require_plain_weights(path: Path, name: str) -> None:
    """Raise ModelError where a path is neither folder nor .gguf file, or its weights are only an adapter or pickles."""
    if not path.is_dir():
        if gguf.is_gguf(str(path)):
            return
        raise ModelError(
            f"model.name: {name} is a file; name the folder that holds config.json and the weights, or a .gguf file"
        )
    names = {file.name for file in path.iterdir()}
    if "adapter_config.json" in names:
        raise ModelError(f"model.name: {name} holds an adapter; name its base model, or a folder with both folded")
    if any(each.endswith(".safetensors") for each in names):
        return
    pickles = sorted(n for n in names if n.endswith(PICKLES) and not n.startswith(NO_WEIGHTS))
    if pickles:
        command = ["python", "-c", CONVERSION, str(path / "model.safetensors")]
        typed = shlex.join([*command, *(str(path / each) for each in pickles)])
        raise ModelError(
            f"model.name: {name} holds its weights as {pickles[0]}, which may run code when it is opened; "
            f"only safetensors are read. Where you trust it, convert it:\n  {typed}"
        )


def require_shards(path: Path, name: str) -> None:
    """Raise ModelError where an index of weights leads to anything but safetensors beside it."""
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        return
    files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    odd = sorted(str(file) for file in files if Path(file).name != file or not file.endswith(".safetensors"))
    if odd:
        raise ModelError(f"model.name: {name}: {index.name} leads to {odd[0]}, which is no safetensors file beside it")


@contextlib.contextmanager
def no_pickles(name: str) -> Iterator[None]:
    """While a model is loaded, torch opens no pickle, whichever file of the model asks for one."""

    def refuse(*_: Any, **__: Any) -> None:
        raise ModelError(f"model.name: {name} asks for a pickle, which may run code; only safetensors are read")

    with mock.patch("torch.load", refuse):
        yield


def require_body(model: PreTrainedModel, missing: Collection[str], mismatched: Collection[str], name: str) -> list[str]:
    """Notes on what is new: a head, of course, and a pooler, which many checkpoints lack.

    Raises ModelError where any other weight of the body is not in the file, or has another shape than its
    configuration says. Tied weights and buffers that are computed are never missing.
    """
    is_of_body = _of_body(model)
    odd = sorted(each for each in mismatched if is_of_body(each))
    if odd:
        raise ModelError(f"model.name: {name} cannot be loaded: its weights do not fit its config.json: {odd[0]}")
    new = sorted(each for each in missing if is_of_body(each))
    lost = [each for each in new if "pooler" not in each.split(".")]
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise ModelError(f"model.name: {name} cannot be loaded: its weights lack {lost[0]}{more}")
    notes = [f"model: {name} has no pooler; a new one is drawn, which stays random where the method freezes it"]
    drawn = sorted(set(missing) - set(new))
    if drawn and model.get_output_embeddings() is not None:
        head = f"model: {name} has no head that tells tokens; a new one is drawn: {', '.join(drawn)}"
        return [*notes, head] if new else [head]
    return notes if new else []


def _of_body(model: PreTrainedModel) -> Callable[[str], bool]:
    """Tells a body's weights by their names; of a model that is its own base, all but what gives the logits."""
    if model.base_model is not model:
        return lambda name: name.startswith(f"{model.base_model_prefix}.")
    head = model.get_output_embeddings()
    heads = tuple(f"{name}." for name, module in model.named_modules() if module is head)
    return lambda name: not name.startswith(heads)
