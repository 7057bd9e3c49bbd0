"""The methods that a user may choose between, and what a training step takes under each.

QLoRA holds the blocks' linear layers in four bits and a share of their scales, 4 + 8/64 + 32/(64 * 256) = 4.127 bits a
weight (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314); it is counted by that formula from LoRA's rehearsal.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.component import find
from luthier.errors import LuthierError
from luthier.models.anatomy import read
from luthier.planning.ledger import Part, total
from luthier.planning.stages import training
from luthier.planning.subject import Ready, Subject, ready

QUANTISED_BITS = 4 + 8 / 64 + 32 / (64 * 256)
METHODS: Mapping[str, Mapping[str, Any]] = {
    "full": {"kind": "full"},
    "partial, last 2 blocks": {"kind": "partial", "train": ("last-2", "head")},
    "partial, head": {"kind": "partial", "train": ("head",)},
    "lora": {"kind": "lora"},
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
    """Overrides that make a recipe this one; none where Luthier has no such method."""

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
                yield from _rehearsed(subject, name, method, checkpointing, num_devices)
            except LuthierError:  # this model has no blocks, or no such part
                break


def sharded(parts: Mapping[Part, int], num_devices: int) -> Mapping[Part, int]:
    """What one of several devices holds."""
    return {part: size // num_devices if part in DIVIDED else size for part, size in parts.items()}


def _rehearsed(subject: Subject, name: str, method: Any, checkpointing: bool, num_devices: int) -> Iterator[Option]:
    source, precision = subject.recipe.model, subject.recipe.training.precision
    halved = method.kind() == "lora" and source.dtype == "auto" and _computes_in_bf16(subject)
    if halved:
        source = source.model_copy(update={"dtype": "bfloat16"})
    again = "blocks" if checkpointing else None
    changed = subject.of(method=method, model=source, training={"checkpointing": again, "precision": precision})
    with ready(changed) as made:
        parts = training(made).parts
        quantised = {**parts, "weights": parts["weights"] - _saved(made)}
    said = [f"method={method.kind()}", *(["model.dtype=bfloat16"] if halved else [])]
    said += [f"method.train=[{', '.join(method.train)}]"] if method.kind() == "partial" else []
    said += ["training.checkpointing=blocks"] if checkpointing else []
    yield Option(name, checkpointing, sharded(parts, num_devices), tuple(said))
    if method.kind() == "lora":
        yield Option("qlora", checkpointing, sharded(quantised, num_devices), ())


def _computes_in_bf16(subject: Subject) -> bool:
    from luthier.models.device import choose_precision

    return choose_precision(subject.recipe.training.precision, subject.rows.device) == "bf16"


def _saved(made: Ready) -> int:
    """Bytes that the weights of the blocks' linear layers would not take."""
    weights = [made.model.get_submodule(name).get_parameter("weight") for name in read(made.model).linears]
    return sum(w.nbytes - int(w.numel() * QUANTISED_BITS / 8) for w in weights)
