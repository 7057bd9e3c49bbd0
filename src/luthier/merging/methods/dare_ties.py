"""DARE with TIES' election of signs in place of the sum. Yu et al. 2023, https://arxiv.org/abs/2311.03099.

τᵢ = mᵢ δᵢ / p, mᵢ ~ Bernoulli(p), γ = sgn Σ τᵢ, θ = θ₀ + λ Σ wᵢ τᵢ [sgn τᵢ = γ] / Σ wᵢ [sgn τᵢ = γ]. mergekit lets the
weights vote, does not divide by those that agree, and scales each tensor's sum of magnitudes to what it was; PEFT
divides by the count of those that agree.
"""

from luthier.merging.methods._dare import Dare
from luthier.merging.methods._sparse import Elected


class DareTies(Dare, Elected):
    """A few elements of each change, by chance, scaled, where the models agree."""

    styles = {
        "mergekit": {"density": 1.0, "rescale": "l1", "sign": "weighted", "normalize": "none"},
        "peft": {"normalize": "count"},
    }
