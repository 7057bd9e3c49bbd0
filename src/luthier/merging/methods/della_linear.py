"""DELLA, summed: θ₀ + λ Σ w m δ / p, p by the rank of δ in its row. Deep et al. 2024, https://arxiv.org/abs/2406.11617.

mergekit's ε is half of the paper's, and it scales each tensor's sum of magnitudes to what it was in place of the
division by p.
"""

from luthier.merging.methods._della import Pruned
from luthier.merging.methods._sparse import Summed


class DellaLinear(Pruned, Summed):
    """Elements of each change by chance, the large ones sooner, scaled and added up."""

    styles = {"mergekit": {"density": 1.0, "spread": "half", "rescale": "l1"}}
