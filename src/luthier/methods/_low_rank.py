"""The low-rank update of one layer, as it hangs there: plain, from a start of its own, or weight-decomposed."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from luthier.methods._parts import Part
from luthier.models.weights import map_sizes, plain_weight

Factors = tuple[Float[Tensor, "rank width_in"], Float[Tensor, "width_out rank"]]


class Update(Part):
    """scale * (B A - B0 A0), the low-rank update of one linear layer or embedding.

    B0 A0 is what B A began with, if that was not zero: the layer starts unchanged, and the base stays as it was.
    """

    held_as: ClassVar[str] = "lora"

    def __init__(
        self, sizes: tuple[int, int], rank: int, scale: float, dropout: float = 0.0, device: torch.device | None = None
    ) -> None:
        super().__init__()
        width_in, width_out = sizes
        self.A = nn.Parameter(torch.empty(rank, width_in, device=device))
        self.B = nn.Parameter(torch.zeros(width_out, rank, device=device))
        self.A0: Tensor | None
        self.B0: Tensor | None
        self.register_buffer("A0", None, persistent=False)
        self.register_buffer("B0", None, persistent=False)
        self.magnitude: Magnitude | None = None
        self.scale, self.dropout = scale, dropout

    @classmethod
    def of(cls, layer: nn.Module, rank: int, scale: float, dropout: float) -> "Update":
        """One that fits a layer; A is to be filled."""
        return cls(map_sizes(layer), rank, scale, dropout, layer.get_parameter("weight").device)

    def begin_here(self) -> None:
        """What B A is now is the update's zero from here on."""
        self.A0, self.B0 = self.A.detach().clone(), self.B.detach().clone()

    def decompose(self, layer: nn.Module) -> None:
        """Learn the length of each row of the layer's map apart from its direction."""
        self.magnitude = Magnitude(layer, self)

    def changed(self, layer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], answer: Any) -> Any:
        given = args[0] if args else kwargs["input"]
        if self.magnitude is not None:
            return self.magnitude.turned(layer, self, answer, self._added(layer, given, answer.dtype))
        if isinstance(layer, nn.Embedding) or self.A0 is not None:
            return answer + self._added(layer, given, answer.dtype)
        return self(given, answer)

    def forward(
        self, x: Float[Tensor, "*rows width_in"], output: Float[Tensor, "*rows width_out"]
    ) -> Float[Tensor, "*rows width_out"]:
        """A linear layer's output for `x` with the plain update in it."""
        x = F.dropout(x, self.dropout, self.training)
        narrow = F.linear(x.to(self.A.dtype), self.A) * self.scale  # where a product has the fewest numbers
        if output.dtype != self.B.dtype:
            return output + F.linear(narrow, self.B).to(output.dtype)
        rows = torch.addmm(output.flatten(end_dim=-2), narrow.flatten(end_dim=-2), self.B.T)
        return rows.view_as(output)

    def _added(self, layer: nn.Module, given: Tensor, dtype: torch.dtype) -> Float[Tensor, "*rows width_out"]:
        """What the update adds to a layer's answer."""
        if isinstance(layer, nn.Embedding):
            # Some tables of words scale what is looked up in them.
            added = _looked_up(given, self.A, self.B) * (self.scale * getattr(layer, "embed_scale", 1.0))
            return added.to(dtype)
        x = F.dropout(given, self.dropout, self.training).to(self.A.dtype)
        added = F.linear(F.linear(x, self.A), self.B)
        if self.A0 is not None and self.B0 is not None:  # as one product they would not cancel to the last bit
            added = added - F.linear(F.linear(x, self.A0.to(x.dtype)), self.B0.to(x.dtype))
        return (added * self.scale).to(dtype)

    def factors(self) -> Factors:
        """A and B of the same update without a start of its own; their rank is twice as high if it has one."""
        if self.A0 is None or self.B0 is None:
            return self.A, self.B
        return torch.cat([self.A, self.A0]), torch.cat([self.B, -self.B0], dim=1)

    def weight(self) -> Float[Tensor, "width_out width_in"]:
        """The update as one matrix; without the magnitude, if it has one."""
        A, B = self.factors()
        return (B @ A) * self.scale

    def folded(self, layer: nn.Module) -> Float[Tensor, "width_out width_in"]:
        """The layer's map with the update in it."""
        weight = plain_weight(layer) + self.weight()
        return weight if self.magnitude is None else weight * self.magnitude.ratio(layer, self)[:, None]


class Magnitude(nn.Module):
    """m in m (W + scale B A) / |W + scale B A|: rows of a layer's map are given lengths that are learnt.

    The norm counts as a constant when gradients are computed, as section 4.3 of the paper has it.
    """

    keeps_precision: ClassVar[bool] = True

    def __init__(self, layer: nn.Module, update: Update) -> None:
        super().__init__()
        weight = plain_weight(layer)
        self.squares: Tensor
        self.register_buffer("squares", weight.square().sum(1), persistent=False)
        self.m = nn.Parameter(self.norm(layer, update))

    @torch.no_grad()
    def norm(self, layer: nn.Module, update: Update) -> Float[Tensor, " width_out"]:
        """|W + scale B A| row by row, |W|^2 + 2 scale B A W^T + scale^2 B A A^T B^T: no matrix of the map's size."""
        A, B = (factor.detach().float() for factor in update.factors())
        crossed = ((plain_weight(layer) @ A.T) * B).sum(1)
        added = ((B @ (A @ A.T)) * B).sum(1)
        squares = self.squares + 2 * update.scale * crossed + update.scale**2 * added
        return squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt()

    def ratio(self, layer: nn.Module, update: Update) -> Float[Tensor, " width_out"]:
        """What each row is multiplied by."""
        return self.m / self.norm(layer, update)

    def turned(
        self, layer: nn.Module, update: Update, answer: Float[Tensor, "*rows out"], added: Float[Tensor, "*rows out"]
    ) -> Float[Tensor, "*rows out"]:
        """The layer's answer, of the base's own and what the update adds to it."""
        ratio = self.ratio(layer, update)
        bias = getattr(layer, "bias", None)
        turns = answer if bias is None else answer - bias.to(answer.dtype)
        # Written so that the base's answer comes out to the last bit where nothing has been learnt.
        return answer + (ratio - 1).to(answer.dtype) * turns + ratio.to(answer.dtype) * added


def _looked_up(
    ids: Int[Tensor, "*rows"], A: Float[Tensor, "rank words"], B: Float[Tensor, "width rank"]
) -> Float[Tensor, "*rows width"]:
    return F.linear(F.embedding(ids, A.T), B)
