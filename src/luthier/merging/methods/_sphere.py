"""Directions, angles and arcs of vectors that are known by their dot products.

An arc from a to b is sin((1-t) φ) / sin φ a + sin(t φ) / sin φ b, with φ the angle between them.
Shoemake 1985, https://doi.org/10.1145/325165.325242.
"""

import torch
from jaxtyping import Float
from torch import Tensor

STRAIGHT = 1e-4
"""Where the sine of an angle is smaller, the way is a straight line: between near directions the two are the same in
fp32, and between opposite ones every way round is as short as another."""

RESOLVED = 1e-7
"""A vector of length 1 that is shorter than this after others were taken from it is rounding: its square is known to
float64's precision only."""


def lengths(gram: Float[Tensor, "vectors vectors *rows"]) -> Float[Tensor, "vectors *rows"]:
    """Of each vector."""
    return gram.diagonal(dim1=0, dim2=1).movedim(-1, 0).sqrt()


def cosines(
    gram: Float[Tensor, "vectors vectors *rows"], *, least: float = 0.0
) -> Float[Tensor, "vectors vectors *rows"]:
    """Between all pairs, 0 with a vector of no length; `least` is the smallest product of two lengths."""
    long = lengths(gram)
    products = (long.unsqueeze(0) * long.unsqueeze(1)).clamp(min=least)
    return torch.where(products > 0, gram / products, 0).clamp(-1, 1)


def length(coefficients: Float[Tensor, " vectors"], gram: Float[Tensor, "vectors vectors"]) -> float:
    """Of the vectors' sum with these coefficients."""
    return float((coefficients @ gram @ coefficients).clamp(min=0).sqrt())


def arc(
    t: float, cosine: Float[Tensor, "*rows"], *, straight_above: float = 1.0
) -> tuple[Float[Tensor, "*rows"], Float[Tensor, "*rows"]]:
    """Coefficients of the point at t on each arc, or on the straight line where the cosine is farther from 0."""
    angle = torch.acos(cosine)
    sine = torch.sin(angle)
    straight = (sine < STRAIGHT) | (cosine.abs() > straight_above)
    safe = torch.where(straight, 1.0, sine)
    first = torch.where(straight, 1 - t, torch.sin((1 - t) * angle) / safe)
    second = torch.where(straight, t, torch.sin(t * angle) / safe)
    return first, second
