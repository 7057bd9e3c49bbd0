"""The best state of a run: watched by one metric, kept in memory, put back at the end."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class Best:
    """A copy of what was learnt when the metric was best."""

    higher_is_better: bool
    patience: int | None = None
    """Evaluations without a better value after which it is time to stop."""
    value: float | None = None
    step: int = 0
    since: int = 0
    """Evaluations since the best one."""
    _learnt: dict[str, Tensor] = field(default_factory=dict)

    def see(self, value: float, step: int, model: nn.Module) -> bool:
        """Take note of an evaluation; -> whether it was the best so far. NaN never is."""
        sign = 1 if self.higher_is_better else -1
        if value != value or (self.value is not None and sign * value <= sign * self.value):
            self.since += 1
            return False
        self.value, self.step, self.since = value, step, 0
        trainable = ((name, p) for name, p in model.named_parameters() if p.requires_grad)
        self._learnt = {name: p.detach().to("cpu", copy=True) for name, p in trainable}
        return True

    @property
    def time_to_stop(self) -> bool:
        return self.patience is not None and self.since >= self.patience

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Put the best state back; nothing where no evaluation was seen."""
        for name, tensor in self._learnt.items():
            model.get_parameter(name).copy_(tensor)
