"""Is what lies on the disk what was merged, and does it run? Every merge ends with this."""

import hashlib
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import torch

from luthier.errors import MergeError
from luthier.merging.parents.blocks import is_numbered
from luthier.merging.parents.checkpoint import Folder

MOST_BYTES_LOADED = 8 * 2**30
"""Of weights; a larger model is compared with its configuration by names and shapes, and not run."""
PROBE_TOKENS = 8


def check(folder: Path, hashes: Mapping[str, str], *, name: str, known: Set[str]) -> dict[str, Any]:
    """Compare every tensor's bytes with what was merged, then load the model and run it on a few tokens.

    `name` is what the folder will be called, `known` the names that it was merged of: what these lack, it may lack. ->
    what was done, as a record. Raises MergeError where anything is not as it should be.
    """
    checkpoint = Folder(folder, name)
    require_hashes(folder, hashes)
    config = _configuration(folder) if checkpoint.config else None
    if config is None:
        known_to = "transformers does not know its kind of model" if checkpoint.config else "it has no config.json"
        return {"tensors": len(hashes), "loaded": False, "why": known_to}
    if sum(spec.bytes for spec in checkpoint.specs.values()) > MOST_BYTES_LOADED:
        _require_names(folder, checkpoint)
        why = f"it is over {MOST_BYTES_LOADED // 2**30} GiB; names and shapes are those of its configuration"
        return {"tensors": len(hashes), "loaded": False, "why": why}
    _run(folder, config, name, known)
    return {"tensors": len(hashes), "loaded": True}


def _configuration(folder: Path) -> Any:
    """None where transformers does not know its kind of model."""
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, KeyError, OSError):
        return None


def require_hashes(folder: Path, hashes: Mapping[str, str]) -> None:
    """Raise MergeError where a tensor of a finished folder is not what was merged."""
    checkpoint = Folder(folder, folder.name)
    if odd := sorted(hashes.keys() ^ checkpoint.specs.keys()):
        raise MergeError(f"{folder}: the plan and the written files differ in {odd[0]}; merge again")
    for name, sha256 in hashes.items():
        digest = hashlib.sha256()
        spec = checkpoint.specs[name]
        rows = max(1, spec.shape[0] * 2**22 // max(1, spec.bytes)) if len(spec.shape) > 1 else 1
        for start in range(0, spec.shape[0] if len(spec.shape) > 1 else 1, rows):
            part = checkpoint.read(name, start, start + rows)
            digest.update(part.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
        if digest.hexdigest() != sha256:
            raise MergeError(f"{folder}: {name} is not on the disk as it was merged; is the disk sound? merge again")


def _require_names(folder: Path, checkpoint: Folder) -> None:
    from luthier.merging.parents.roles import blank_model

    wanted = {name: tuple(each.shape) for name, each in blank_model(folder, where=str(folder)).state_dict().items()}
    for name, spec in checkpoint.specs.items():
        if wanted.get(name, spec.shape) != spec.shape:
            raise MergeError(f"{folder}: {name} is {spec.shape}, but its configuration asks for {wanted[name]}")


@torch.no_grad()
def _run(folder: Path, config: Any, name: str, known: Set[str]) -> None:
    import transformers

    from luthier.models.quiet import quiet

    kind = getattr(transformers, next(iter(config.architectures or ()), ""), transformers.AutoModel)
    how = {"trust_remote_code": False, "output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        with quiet():
            model, told = kind.from_pretrained(folder, **how)
    except (ValueError, KeyError, OSError, RuntimeError, ImportError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MergeError(f"{name}: the merged model cannot be loaded: {first}") from error
    for what, problem in (("missing_keys", "lacks"), ("mismatched_keys", "has another shape of")):
        lost = [each for each in map(_name, told[what]) if each in known or is_numbered(each)]
        if lost:
            raise MergeError(f"{name}: the merged model {problem} {min(lost)}; its models may differ")
    if model.main_input_name == "input_ids":
        answer = model.eval()(**_probe(model))
        if not torch.isfinite(answer[0].float()).all():
            raise MergeError(f"{name}: the merged model answers with numbers that are not finite")


def _name(told: Any) -> str:
    """Of a tensor; shapes come with it where they differ."""
    return str(told[0]) if isinstance(told, tuple) else str(told)


def _probe(model: Any) -> dict[str, torch.Tensor]:
    """A few tokens from the whole vocabulary."""
    config = model.config.get_text_config()
    num = min(PROBE_TOKENS, getattr(config, "max_position_embeddings", None) or PROBE_TOKENS)
    tokens = torch.linspace(0, config.vocab_size - 1, num).long()[None]
    asked = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    return {**asked, "decoder_input_ids": tokens} if config.is_encoder_decoder else asked
