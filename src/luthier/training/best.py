"""The best state of a run: watched by one metric, kept in memory, put back at the end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    learnt: dict[str, Tensor] = field(default_factory=dict)
    """What `changing` gave then, on the CPU; empty before the first evaluation."""

    def see(self, value: float, step: int, model: nn.Module) -> bool:
        """Take note of an evaluation; -> whether it was the best so far. NaN never is."""
        sign = 1 if self.higher_is_better else -1
        if value != value or (self.value is not None and sign * value <= sign * self.value):
            self.since += 1
            return False
        self.value, self.step, self.since = value, step, 0
        self.learnt = {name: t.detach().to("cpu", copy=True) for name, t in changing(model).items()}
        return True

    @property
    def time_to_stop(self) -> bool:
        return self.patience is not None and self.since >= self.patience

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Put the best state back; nothing where no evaluation was seen."""
        places = changing(model)
        for name, tensor in self.learnt.items():
            places[name].copy_(tensor)

    def figures(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the tensors."""
        return {"value": self.value, "step": self.step, "since": self.since}

    def set_figures(self, figures: Mapping[str, Any], learnt: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint; `learnt` is taken where an evaluation was seen."""
        self.value, self.step, self.since = figures["value"], figures["step"], figures["since"]
        self.learnt = dict(learnt) if self.value is not None else {}


def changing(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: the parameters that learn, and buffers that are saved, as a norm's running means."""
    saved = model.state_dict(keep_vars=True)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in saved}
    return {**parameters, **buffers}
