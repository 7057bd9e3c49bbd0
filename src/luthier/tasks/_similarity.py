"""Losses of sentence vectors: what belongs together is to be alike, and what does not is not.

Each sentence of a batch is encoded once, and all pairs of them come from one product of matrices. Of each text,
s are its similarities to the candidates, those that are relevant to it and the others:

    squared    half the mean of (1 - s)^2 over the relevant, half the mean of s^2 over the others: what SetFit's pairs
               teach, drawn half and half (Tunstall et al. 2022, https://arxiv.org/abs/2209.11055)
    contrast   minus the mean over the relevant of log softmax(s / temperature): with one relevant text in-batch
               negatives (Henderson et al. 2017, https://arxiv.org/abs/1705.00652), with several the supervised
               contrastive loss (Khosla et al. 2020, https://arxiv.org/abs/2004.11362)
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from luthier.tasks import Loss

Measure = Literal["cosine", "dot"]


@dataclass(frozen=True)
class Compared:
    """Texts beside candidates."""

    similarity: Float[Tensor, "texts candidates"]
    relevant: Bool[Tensor, "texts candidates"]
    """Candidates that a text belongs to, itself not among them."""
    left_out: Bool[Tensor, "texts candidates"]
    """Candidates that are the text itself: nothing is to be learnt of them."""

    @property
    def wrong(self) -> Bool[Tensor, "texts candidates"]:
        """The others."""
        return ~(self.relevant | self.left_out)


def compared_by_label(
    states: Float[Tensor, "rows 1 width"], targets: Shaped[Tensor, "rows ..."], part: slice, measure: Measure
) -> Compared:
    """Texts of a part beside all of them; those with its label are relevant, with any of its labels where targets are
    0 or 1 for each label."""
    vectors = _unit(states[:, 0], measure)
    numbers = torch.arange(len(states), device=states.device)
    is_itself = numbers[part, None] == numbers
    return Compared(vectors[part] @ vectors.T, alike(targets[part], targets) & ~is_itself, is_itself)


def alike(first: Shaped[Tensor, "rows ..."], second: Shaped[Tensor, "others ..."]) -> Bool[Tensor, "rows others"]:
    """Which rows have a label in common."""
    return first[:, None] == second if first.ndim == 1 else first.float() @ second.float().T > 0


def compared_by_text(
    states: Float[Tensor, "rows texts width"], targets: Shaped[Tensor, "rows texts"], part: slice, measure: Measure
) -> Compared:
    """Anchors of a part beside all other texts, which `targets` numbers; an anchor's own text is no candidate."""
    vectors = _unit(states, measure)
    candidates, numbers = vectors[:, 1:].transpose(0, 1).flatten(0, 1), targets[:, 1:].T.flatten()
    relevant = targets[part, 1, None] == numbers
    return Compared(vectors[part, 0] @ candidates.T, relevant, (targets[part, 0, None] == numbers) & ~relevant)


def pairwise(
    first: Float[Tensor, "pairs width"], second: Float[Tensor, "pairs width"], measure: Measure
) -> Float[Tensor, " pairs"]:
    """Each text beside its own one."""
    return (_unit(first, measure) * _unit(second, measure)).sum(-1)


def _unit(vectors: Float[Tensor, "... width"], measure: Measure) -> Float[Tensor, "... width"]:
    """Vectors of which products are the similarities."""
    return F.normalize(vectors, dim=-1) if measure == "cosine" else vectors


def squared(compared: Compared, hard: float = 1.0) -> Loss:
    """Of each text; `hard` is the share of its pairs that count, those with the largest errors."""
    errors = (compared.similarity - compared.relevant.to(compared.similarity.dtype)) ** 2
    total = (_mean(errors, compared.relevant, hard) + _mean(errors, compared.wrong, hard)) / 2
    return Loss(total, torch.ones_like(total))


def contrast(compared: Compared, temperature: float, hard: float = 1.0) -> Loss:
    """Of each text that has a relevant one."""
    scaled = compared.similarity / temperature
    seen = compared.relevant | _hardest(scaled.detach(), compared.wrong, hard)
    seen = seen | ~seen.any(-1, keepdim=True)  # a text alone has nothing to be told from, and does not count
    logs = scaled - torch.logsumexp(scaled.masked_fill(~seen, -torch.inf), -1, keepdim=True)
    count = compared.relevant.any(-1).to(scaled.dtype)
    return Loss(-_mean(logs.masked_fill(~compared.relevant, 0.0), compared.relevant), count)


def _mean(
    values: Float[Tensor, "texts candidates"], chosen: Bool[Tensor, "texts candidates"], hard: float = 1.0
) -> Float[Tensor, " texts"]:
    """Of each text's chosen values, or of the largest share of them; 0 where there are none."""
    chosen = _hardest(values.detach(), chosen, hard)
    return (values * chosen).sum(-1) / chosen.sum(-1).clamp(min=1)


def _hardest(
    values: Float[Tensor, "texts candidates"], chosen: Bool[Tensor, "texts candidates"], share: float
) -> Bool[Tensor, "texts candidates"]:
    """The largest share of each text's chosen values, one at least."""
    if share == 1:
        return chosen
    places = values.masked_fill(~chosen, -torch.inf).argsort(-1, descending=True).argsort(-1)
    return chosen & (places < (share * chosen.sum(-1, keepdim=True)).ceil())
