"""The gradient of a loss that couples the rows of a batch, in micro-batches: gradient caching.

First every micro-batch is computed without what backward needs, for its rows' states alone. The loss of all states
gives the gradient of each, and with that every micro-batch is computed again, and back: the gradient of one big batch
for a forward pass more. Gao et al. 2021, https://arxiv.org/abs/2101.06983.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from luthier.errors import TrainingError
from luthier.models.arithmetic import Forward
from luthier.models.frozen import cache as frozen
from luthier.tasks import Batch, Task

NOTHING_LEARNS = "method: nothing that learns has a part in the loss; train other parts of the model"


def backward(
    model: PreTrainedModel, task: Task, micro_batches: Sequence[Batch], forward: Forward, scaler: torch.amp.GradScaler
) -> tuple[Tensor, Tensor]:
    """Add the gradient of the summed loss to every parameter; -> the sum and the count over all rows."""
    first = torch.initial_seed()

    def states(number: int, batch: Batch) -> Tensor:
        torch.manual_seed((first + number) % 2**63)  # dropout, the same both times
        with frozen.around(model, batch) as here, forward():
            return task.embed(model, here)

    with torch.no_grad():
        found = [states(*each) for each in enumerate(micro_batches)]
    whole = torch.cat(found).requires_grad_()
    targets = [batch.targets for batch in micro_batches if batch.targets is not None]
    loss = task.relate(whole, torch.cat(targets).to(whole.device))
    total = loss.total.sum()
    scaler.scale(total).backward()
    assert whole.grad is not None
    for (number, batch), gradient in zip(enumerate(micro_batches), whole.grad.split([*map(len, found)]), strict=True):
        again = states(number, batch)
        if not again.requires_grad:
            raise TrainingError(NOTHING_LEARNS)
        again.backward(gradient)
    return total.detach(), loss.count.sum()
