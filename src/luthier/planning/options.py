"""The methods that a user may choose between, and what a training step takes under each.

Where bitsandbytes is not installed, QLoRA is counted from LoRA's rehearsal by the formula of its weights, 4.127 bits
for each of the blocks' linear layers (models/quantised.py); that leaves out the one plain weight that a product needs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.component import find
from luthier.errors import LuthierError
from luthier.extras import is_there
from luthier.models.anatomy import read
from luthier.models.blank import is_bf16
from luthier.models.quantised import BITS
from luthier.planning.ledger import Part, total
from luthier.planning.stages import training
from luthier.planning.subject import Ready, Subject, ready

METHODS: Mapping[str, Mapping[str, Any]] = {
    "full": {"kind": "full"},
    "partial, last 2 blocks": {"kind": "partial", "train": ("last-2", "head")},
    "partial, head": {"kind": "partial", "train": ("head",)},
    "lora": {"kind": "lora"},
    "qlora": {"kind": "lora"},
}
DIVIDED: tuple[Part, ...] = ("weights", "gradients", "optimizer")
"""What several devices share, where states are sharded (ZeRO-3, https://arxiv.org/abs/1910.02054; FSDP)."""


@dataclass(frozen=True)
class Option:
    """A method, with or without checkpointing."""

    name: str
    checkpointing: bool
    parts: Mapping[Part, int]
    """Bytes of each part on one device, when most is taken."""
    settings: tuple[str, ...]
    """Overrides that make a recipe this one."""

    @property
    def peak(self) -> int:
        """Bytes, when most is taken."""
        return total(self.parts)


def options(subject: Subject, num_devices: int = 1) -> Iterator[Option]:
    """Each method that the model allows, one after the other as they are rehearsed."""
    for name, said in METHODS.items():
        settings = {key: value for key, value in said.items() if key != "kind"}
        method = find("methods", said["kind"]).model_validate(settings)
        for checkpointing in (False, True):
            try:
                yield _rehearsed(subject, name, method, checkpointing, num_devices)
            except LuthierError:  # this model has no blocks, or no such part
                break


def sharded(parts: Mapping[Part, int], num_devices: int) -> Mapping[Part, int]:
    """What one of several devices holds."""
    return {part: size // num_devices if part in DIVIDED else size for part, size in parts.items()}


def _rehearsed(subject: Subject, name: str, method: Any, checkpointing: bool, num_devices: int) -> Option:
    asked, precision = subject.recipe.model, subject.recipe.training.precision
    quantize = "nf4" if name == "qlora" else "none"
    is_counted = name == "qlora" and not is_there("bitsandbytes")
    source = asked.model_copy(update={"quantize": "none" if is_counted else quantize})
    halved = method.kind() == "lora" and asked.dtype == "auto" and _would_be_rounded(subject)
    if halved:
        source = source.model_copy(update={"dtype": "bfloat16"})
    again = "blocks" if checkpointing else None
    changed = subject.of(method=method, model=source, training={"checkpointing": again, "precision": precision})
    with ready(changed) as made:
        parts = training(made).parts
        if is_counted:
            parts = {**parts, "weights": parts["weights"] - _saved(made)}
    said = [f"method={method.kind()}"]
    said += [f"model.quantize={quantize}"] if quantize != asked.quantize else []
    said += ["model.dtype=bfloat16"] if halved and quantize == "none" else []  # else it is so by itself
    said += [f"method.train=[{', '.join(method.train)}]"] if method.kind() == "partial" else []
    said += ["training.checkpointing=blocks"] if checkpointing else []
    return Option(name, checkpointing, sharded(parts, num_devices), tuple(said))


def _would_be_rounded(subject: Subject) -> bool:
    """Whether frozen weights are held in bf16 only where the recipe says so."""
    from luthier.models.device import choose_precision

    computed = choose_precision(subject.recipe.training.precision, subject.rows.device)
    return computed == "bf16" and not is_bf16(subject.recipe.model, subject.settings)


def _saved(made: Ready) -> int:
    """Bytes that the weights of the blocks' linear layers would not take."""
    weights = [made.model.get_submodule(name).get_parameter("weight") for name in read(made.model).linears]
    return sum(w.nbytes - int(w.numel() * BITS["nf4"] / 8) for w in weights)
