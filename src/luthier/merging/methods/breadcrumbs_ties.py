"""Model breadcrumbs with TIES' election of signs in place of the sum.

Davari & Belilovsky 2023, https://arxiv.org/abs/2312.06795; Yadav et al. 2023, https://arxiv.org/abs/2306.01708.
mergekit lets the weights vote and does not divide by those that agree.
"""

from luthier.merging.methods._breadcrumbs import Crumbs
from luthier.merging.methods._sparse import Elected


class BreadcrumbsTies(Crumbs, Elected):
    """The large changes, but for the very largest, where the models agree."""

    styles = {"mergekit": {"density": 1.0, "sign": "weighted", "normalize": "none"}}
