"""What should learn, and no gradient has reached in the first steps."""

from collections.abc import Iterator, Sequence, Set
from typing import Any

from torch import Tensor, nn

from luthier.errors import TrainingError

NUM_NAMED = 4
"""Most tensors that a message names."""


def named(model: nn.Module, silent: Set[Tensor] | None, num_steps: int) -> Iterator[dict[str, Any]]:
    """A record that names the parameters that are silent after so many steps; none where all were reached.

    Raises TrainingError where they are all that should learn.
    """
    if not silent:
        return
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    names = [name for name, parameter in learning.items() if parameter in silent]
    told = f"no gradient reached {_some(names)} in the first {num_steps} steps"
    if len(names) == len(learning):
        raise TrainingError(f"{told}: nothing learns; the loss does not depend on it")
    note = f"{told}: of {len(learning)} learnt tensors {len(names)} have not moved"
    yield {"event": "silent", "step": num_steps, "tensors": names, "notes": [note]}


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return ", ".join(names[:NUM_NAMED]) + more
