"""What stands in for a row that a model lacks: another model's, the mean of several, or that of another token."""

from collections.abc import Mapping

import torch
from jaxtyping import Int64
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.recipes.recipe import TokenSource

Donors = tuple[tuple[str, int], ...]
"""Models and a row of each, whose mean stands in for a row; none of them: zeros."""


def standing_in(rows: Mapping[str, Int64[Tensor, "size"]], base: str) -> dict[int, Donors]:
    """For every row that some model lacks."""
    labels = list(rows)
    stacked = torch.stack([rows[label] for label in labels])
    lacking = (stacked < 0).any(0).nonzero().flatten()
    found = dict[int, Donors]()
    for row, each in zip(lacking.tolist(), stacked[:, lacking].T.tolist(), strict=True):
        have = {label: own for label, own in zip(labels, each, strict=True) if own >= 0}
        found[row] = ((base, have[base]),) if base in have else tuple(have.items())
    return found


def follow(
    rules: Mapping[str, TokenSource],
    merged: Mapping[str, int],
    known: Mapping[str, Mapping[str, int]],
    sizes: Mapping[str, int],
    rows: Mapping[str, Int64[Tensor, "size"]],
    donors: dict[int, Donors],
) -> None:
    """What is said of single tokens takes the place of what was found."""
    for token, rule in rules.items():
        row = merged[token]
        if rule.model is None and not rule.is_zero:
            if rule.force:
                raise MergeError(f"tokenizer: {token} is forced, and nothing says from where; say its source")
            continue
        if rule.is_zero:
            donors[row] = ()
        else:
            assert rule.model is not None
            wanted = token if rule.token is None else rule.token
            number = wanted if isinstance(wanted, int) else known[rule.model].get(wanted, -1)
            if not 0 <= number < sizes[rule.model]:
                raise MergeError(
                    f"tokenizer: {token} is to be that of {wanted} in {rule.model}, which has no such token"
                )
            donors[row] = ((rule.model, number),)
        if rule.force:
            for each in rows.values():
                each[row] = -1
