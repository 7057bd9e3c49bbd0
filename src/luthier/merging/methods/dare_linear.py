"""DARE, summed: θ₀ + λ Σ wᵢ mᵢ δᵢ / p, mᵢ ~ Bernoulli(p). Yu et al. 2023, https://arxiv.org/abs/2311.03099.

mergekit does not divide by the density p, but scales each tensor's sum of magnitudes to what it was.
"""

from luthier.merging.methods._dare import Dare
from luthier.merging.methods._sparse import Summed


class DareLinear(Dare, Summed):
    """A few elements of each change, by chance, scaled and added up."""

    styles = {"mergekit": {"density": 1.0, "rescale": "l1"}, "peft": {}}
