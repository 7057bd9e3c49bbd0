"""Model breadcrumbs: θ₀ + λ Σ w m δ, m leaves out the smallest elements of each tensor's change and its outliers.

Of magnitudes from the largest, the share γ is passed over and the share density kept; of equals the lowest index comes
first. Davari & Belilovsky 2023, https://arxiv.org/abs/2312.06795.
"""

from luthier.merging.methods._breadcrumbs import Crumbs
from luthier.merging.methods._sparse import Summed


class Breadcrumbs(Crumbs, Summed):
    """The large changes, but for the very largest, added up."""

    styles = {"mergekit": {"density": 1.0}}
