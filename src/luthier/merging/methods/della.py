"""DELLA, with TIES' election of signs. Deep et al. 2024, https://arxiv.org/abs/2406.11617.

In each row the magnitudes' ranks r set the probabilities pᵢ with which elements are left, from density - ε / 2 up to
density + ε / 2; τ = m δ / p, γ = sgn Σ τ, θ = θ₀ + λ Σ w τ [sgn τ = γ] / Σ w [sgn τ = γ]. mergekit's ε is half of that
width, its weights vote, and it scales each tensor's sum of magnitudes to what it was in place of the division by p.
"""

from luthier.merging.methods._della import Pruned
from luthier.merging.methods._sparse import Elected


class Della(Pruned, Elected):
    """Elements of each change by chance, the large ones sooner, scaled, where the models agree."""

    styles = {"mergekit": {"density": 1.0, "spread": "half", "rescale": "l1", "sign": "weighted"}}
