"""A linear classifier over vectors that do not change any more: its fit, and how sure it may be.

    logistic   scikit-learn's regression: of one label of many a softmax, of several labels one regression for each
    torch      the same penalty under the task's own loss, with its label smoothing; found by L-BFGS in float64

The temperature is chosen on rows that taught nothing (Guo et al. 2017, https://arxiv.org/abs/1706.04599).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

Vectors = Float[ndarray, "rows width"]
Targets = Shaped[ndarray, "rows ..."]
"""Labels' numbers, or 0 or 1 for each label."""
TEMPERATURES = np.geomspace(0.05, 20, 121)
"""What is tried: as fine as 5 %."""
FEWEST_TO_CALIBRATE = 20
"""Rows; of fewer a temperature says little."""
NEVER = -1e4
"""The logit of a label that no training row has, beside the others'."""


@dataclass(frozen=True)
class Linear:
    """Logits W v + b."""

    weight: Float[Tensor, "labels width"]
    bias: Float[Tensor, " labels"]


@dataclass(frozen=True)
class Penalty:
    """What a fit weighs."""

    c: float
    """Inverse strength of |W|^2 / 2 beside the sum of the losses."""
    class_weights: tuple[float, ...] | Literal["none"]
    """Of each label."""
    label_smoothing: float
    """For torch."""


def logistic(vectors: Vectors, targets: Targets, num_labels: int, penalty: Penalty) -> Linear:
    """Scikit-learn's; a label that no row has, or that all have, is as likely as Laplace's rule says."""
    weights = penalty.class_weights if penalty.class_weights != "none" else (1.0,) * num_labels
    if targets.ndim == 1:
        return _one_of_many(vectors, targets, weights, penalty.c)
    columns = [_one(vectors, column, weights[label], penalty.c) for label, column in enumerate(targets.T)]
    return Linear(torch.stack([each.weight for each in columns]), torch.stack([each.bias for each in columns]))


def by_torch(vectors: Vectors, targets: Targets, num_labels: int, penalty: Penalty) -> Linear:
    """The minimum of sum of losses + |W|^2 / 2c."""
    rows, wanted = torch.from_numpy(vectors).double(), torch.from_numpy(targets)
    weights = torch.tensor(penalty.class_weights).double() if penalty.class_weights != "none" else None
    weight = torch.zeros(num_labels, rows.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(num_labels, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=1000, tolerance_grad=1e-8, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        search.zero_grad()
        loss = _loss(rows @ weight.T + bias, wanted, weights, penalty.label_smoothing)
        total = penalty.c * loss + weight.square().sum() / 2
        total.backward()
        return total.detach()

    search.step(objective)
    return Linear(weight.detach().float(), bias.detach().float())


FITS: dict[str, Callable[[Vectors, Targets, int, Penalty], Linear]] = {"logistic": logistic, "torch": by_torch}


def temperature(logits: Float[Tensor, "rows labels"], targets: Shaped[Tensor, "rows ..."]) -> float:
    """What logits are to be divided by so that the likelihood of the targets is largest."""
    losses = [float(_loss(logits / float(each), targets)) for each in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def _loss(
    logits: Float[Tensor, "rows labels"],
    targets: Shaped[Tensor, "rows ..."],
    weights: Float[Tensor, " labels"] | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Summed over rows and labels."""
    if targets.ndim == 1:
        return F.cross_entropy(logits, targets, weights, reduction="sum", label_smoothing=smoothing)
    smooth = targets.to(logits.dtype) * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logits, smooth, weights, reduction="sum")


def _one_of_many(vectors: Vectors, targets: Targets, weights: tuple[float, ...], c: float) -> Linear:
    there = np.unique(targets)
    made = _regression(c, {label: weights[label] for label in there}).fit(vectors, targets)
    rows, shifts = torch.from_numpy(made.coef_).float(), torch.from_numpy(made.intercept_).float()
    if len(there) == 2:  # scikit-learn tells of the second alone
        rows, shifts = torch.cat([-rows, rows]) / 2, torch.cat([-shifts, shifts]) / 2
    weight, bias = torch.zeros(len(weights), vectors.shape[1]), torch.full((len(weights),), NEVER)
    weight[there], bias[there] = rows, shifts
    return Linear(weight, bias)


def _one(vectors: Vectors, targets: Targets, weight: float, c: float) -> Linear:
    """One label beside none."""
    num = int(targets.sum())
    if num in (0, len(targets)):
        odds = np.log((num + 1) / (len(targets) - num + 1))
        return Linear(torch.zeros(vectors.shape[1]), torch.tensor(float(odds)))
    made = _regression(c, {0: weight, 1: weight}).fit(vectors, targets.astype(int))
    return Linear(torch.from_numpy(made.coef_[0]).float(), torch.tensor(float(made.intercept_[0])))


def _regression(c: float, class_weight: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, class_weight=class_weight, max_iter=1000)
