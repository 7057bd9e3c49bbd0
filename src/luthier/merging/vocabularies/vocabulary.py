"""One vocabulary for models whose tokenizers differ: which row of each model's embedding belongs to a merged token.

Where a model has no row for a token, another stands in, as in mergekit: that of the only model that has one, else that
of the base, else the mean of those that have one; a token that no model has a row for is zeros. So a token that one
model added is, in every method, what that model learnt of it. Rows that no token has, where the size is rounded up, are
the mean of the model's others (Hewitt 2021, https://nlp.stanford.edu/~johnhew/vocab-expansion.html).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from luthier.errors import MergeError, did_you_mean
from luthier.merging.recipes.recipe import TokenSource
from luthier.merging.vocabularies.stand_ins import Donors, follow, standing_in
from luthier.merging.vocabularies.tokenizer_files import (
    Tokens,
    fingerprint,
    has_tokenizer,
    joined,
    read_tokens,
    written,
)


@dataclass(frozen=True)
class Vocabulary:
    """The merged tokens, and where each model has them."""

    size: int
    """Rows of the merged embedding."""
    rows: Mapping[str, Int64[Tensor, "size"]]
    """By label, each merged row's row in that model's embedding; -1 where it has none."""
    stand_ins: Mapping[int, Donors] = field(default_factory=dict)
    """By merged row, what stands in where a model has none."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """By label, the rows of that model's embedding."""
    num_added: Mapping[str, int] = field(default_factory=dict)
    """By label, the merged tokens that the first tokenizer lacks and that this model brought."""
    num_missing: Mapping[str, int] = field(default_factory=dict)
    """By label, the merged tokens that this model has no row for."""
    notes: tuple[str, ...] = ()
    """What a user should know."""
    source: str | None = None
    """Label of the model whose tokenizer's files stay as they are, or are added to; None where no model has any."""
    tokens: Tokens | None = None
    """The merged tokenizer, where it is none of the models'."""

    def changes(self, label: str) -> bool:
        """Whether a model's embedding has to be put in another order or made another size."""
        return self.sizes[label] != self.size or not self._in_order[label]

    @property
    def changes_any(self) -> bool:
        return any(self.changes(label) for label in self.rows)

    @cached_property
    def _in_order(self) -> Mapping[str, bool]:
        order = torch.arange(self.size)
        return {label: torch.equal(rows, order) for label, rows in self.rows.items()}

    @cached_property
    def donations(self) -> Mapping[str, tuple[Int64[Tensor, "num"], Int64[Tensor, "num"]]]:
        """By label, the merged rows that its rows may stand in for, in order, and those rows."""
        given: dict[str, list[tuple[int, int]]] = {label: [] for label in self.rows}
        for row in sorted(self.stand_ins):
            for label, donor in self.stand_ins[row]:
                given[label].append((row, donor))
        pairs = {label: torch.tensor(each, dtype=torch.int64).reshape(-1, 2) for label, each in given.items()}
        return {label: (each[:, 0].contiguous(), each[:, 1].contiguous()) for label, each in pairs.items()}

    @cached_property
    def num_donors(self) -> Int64[Tensor, "size"]:
        """Of each merged row; -1 where nothing stands in, so that it is no token's."""
        counts = torch.full((self.size,), -1)
        places = torch.tensor(list(self.stand_ins), dtype=torch.int64)
        counts[places] = torch.tensor([len(donors) for donors in self.stand_ins.values()], dtype=torch.int64)
        return counts

    def write(self, folder: Path) -> None:
        """The merged tokenizer's files, where it is none of the models'."""
        if self.tokens is not None:
            written(self.tokens, folder)


def one_vocabulary(
    models: Sequence[tuple[str, Path | None]],
    sizes: Mapping[str, int],
    *,
    base: str,
    source: str | None = None,
    rules: Mapping[str, TokenSource] | None = None,
    multiple_of: int | None = None,
) -> Vocabulary:
    """The vocabulary of a merge of models, given as labels and folders, with the rows of their embeddings.

    `source` is `union`, `base`, a label, or None: then tokenizers must be the same, or embeddings of one size.
    Raises MergeError where they cannot be merged so.
    """
    labels, rules = [label for label, _ in models], dict(rules or {})
    source = "union" if rules and source is None else source
    if source not in (None, "union", "base", *labels):
        raise MergeError(f"tokenizer: {source} is no model of this merge{did_you_mean(str(source), labels)}")
    folders = {label: folder for label, folder in models if folder is not None and has_tokenizer(folder)}
    prints = {label: fingerprint(folder) for label, folder in folders.items()}
    first = base if source in (None, "union", "base") else str(source)
    keeper = first if first in folders else next(iter(folders), None)
    read = dict[str, Tokens]()
    if rules or len(set(prints.values())) > 1:
        by_print = {prints[label]: read_tokens(folder, label) for label, folder in reversed(folders.items())}
        read = {label: by_print[prints[label]] for label in folders}
    same = all(each.numbers == read[str(keeper)].numbers for each in read.values()) if read else True
    assumed = _assumed(labels, sizes, folders, keeper, same=same)
    if same and not rules:
        num_tokens = _num_tokens(folders, keeper, sizes, read, multiple_of)
        size = _size(sizes, base, num_tokens, multiple_of)
        return _by_number(labels, sizes, base, size, keeper, assumed)
    if source is None:  # read, or they would be the same
        return _by_number(labels, sizes, base, sizes[base], keeper, (*assumed, _differ(sizes, str(keeper), read)))
    if not read:
        raise MergeError("tokenizer: sources of tokens are given, and no model has a tokenizer; leave tokens out")
    known = {label: read.get(label, read[str(keeper)]) for label in labels}
    return _by_token(
        known,
        sizes,
        base=base,
        keeper=str(keeper),
        rules=rules,
        multiple_of=multiple_of,
        notes=assumed,
        union=source == "union",
    )


def _assumed(
    labels: Sequence[str],
    sizes: Mapping[str, int],
    folders: Mapping[str, Path],
    keeper: str | None,
    *,
    same: bool,
) -> tuple[str, ...]:
    """Of models without a tokenizer it is taken that theirs is the kept one, where as many rows speak for it."""
    without = [label for label in labels if label not in folders]
    if keeper is None and len(set(sizes.values())) > 1:
        raise MergeError(f"tokenizer: no model has one, and their embeddings differ in size: {_told(sizes)}")
    if keeper is None:
        return ()
    for label in without:
        if sizes[label] != sizes[keeper]:
            raise MergeError(
                f"{label}: has no tokenizer, and {sizes[label]} rows where {keeper} has {sizes[keeper]}; "
                "put its tokenizer.json beside its weights"
            )
    return () if same else tuple(f"{label} has no tokenizer; it is taken to be that of {keeper}" for label in without)


def _told(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{label} {size}" for label, size in sizes.items())


def _num_tokens(
    folders: Mapping[str, Path],
    keeper: str | None,
    sizes: Mapping[str, int],
    read: Mapping[str, Tokens],
    multiple_of: int | None,
) -> int:
    """Read from the files only where it matters."""
    if keeper is None or (len(set(sizes.values())) == 1 and not multiple_of):
        return 0
    tokens = read.get(keeper) or read_tokens(folders[keeper], keeper)
    return max(tokens.numbers.values(), default=-1) + 1


def _size(sizes: Mapping[str, int], base: str, num_tokens: int, multiple_of: int | None) -> int:
    """Of the same tokens everywhere: as many rows as the base has, if all tokens that have a row have one there."""
    if multiple_of:
        return _rounded_up(num_tokens or sizes[base], multiple_of)
    return max(sizes[base], min(num_tokens, max(sizes.values())))


def _rounded_up(number: int, multiple_of: int | None) -> int:
    return -(-number // multiple_of) * multiple_of if multiple_of else number


def _differ(sizes: Mapping[str, int], keeper: str, read: Mapping[str, Tokens]) -> str:
    """What to say where tokenizers differ and no choice was made; raises MergeError where rows cannot be paired."""
    if len(set(sizes.values())) > 1:
        raise MergeError(
            f"tokenizer: the models' differ, and so do their embeddings' rows: {_told(sizes)}; say tokenizer: union "
            "for the tokens of all, or tokenizer: base for those of the base"
        )
    kept = read[keeper].numbers.items()
    num = {label: len(each.numbers.items() ^ kept) for label, each in read.items()}
    told = ", ".join(f"{label} in {many}" for label, many in num.items() if many)
    return f"tokens differ from {keeper}'s ({told}), and rows are merged by number; tokenizer: union merges by token"


def _by_number(
    labels: Sequence[str], sizes: Mapping[str, int], base: str, size: int, keeper: str | None, notes: tuple[str, ...]
) -> Vocabulary:
    """Each row with the row of the same number; rows that only others have are cut off, or stand in."""
    order = torch.arange(size)
    rows = {label: torch.where(order < sizes[label], order, -1) for label in labels}
    others = [label for label in labels if sizes[label] != size]
    told = [
        f"{label}: {sizes[label]} rows of the embedding become {size}, as the tokens are the same" for label in others
    ]
    donors = {row: each for row, each in standing_in(rows, base).items() if each}
    return Vocabulary(size, rows, donors, dict(sizes), source=keeper, notes=(*notes, *told))


def _by_token(
    known: Mapping[str, Tokens],
    sizes: Mapping[str, int],
    *,
    base: str,
    keeper: str,
    rules: Mapping[str, TokenSource],
    multiple_of: int | None,
    notes: tuple[str, ...],
    union: bool,
) -> Vocabulary:
    first = known[keeper]
    others = [(tokens, sizes[label]) for label, tokens in known.items() if label != keeper] if union else []
    merged = joined(first, others, besides=rules)
    is_new = merged.numbers != first.numbers or merged.added.keys() != first.added.keys()
    size = _rounded_up(max(merged.numbers.values(), default=-1) + 1, multiple_of)
    places = torch.tensor(list(merged.numbers.values()), dtype=torch.int64)
    rows = dict[str, Tensor]()
    for label, each in known.items():
        found = torch.tensor([each.numbers.get(token, -1) for token in merged.numbers], dtype=torch.int64)
        rows[label] = torch.full((size,), -1)
        rows[label][places] = torch.where(found < sizes[label], found, -1)
    missing = {label: len(places) - int((each >= 0).sum()) for label, each in rows.items()}
    gained = _brought(merged, first, rows)
    tokens_rows = set(merged.numbers.values())
    donors = {row: each for row, each in standing_in(rows, base).items() if row in tokens_rows}
    numbers = {label: tokens.numbers for label, tokens in known.items()}
    follow(rules, merged.numbers, numbers, sizes, rows, donors)
    return Vocabulary(
        size,
        rows,
        donors,
        dict(sizes),
        num_added=gained,
        num_missing=missing,
        notes=(*notes, *_cut_otherwise(known, keeper)),
        source=keeper,
        tokens=merged if is_new else None,
    )


def _brought(merged: Tokens, first: Tokens, rows: Mapping[str, Int64[Tensor, "size"]]) -> dict[str, int]:
    """Each new token counts for the first model that has it."""
    num = dict.fromkeys(rows, 0)
    for token in merged.numbers.keys() - first.numbers.keys():
        if owner := next((label for label in rows if rows[label][merged.numbers[token]] >= 0), None):
            num[owner] += 1
    return num


def _cut_otherwise(known: Mapping[str, Tokens], keeper: str) -> list[str]:
    """Models that cut texts before they look for tokens, and not as the kept tokenizer does."""
    steps = ("normalizer", "pre_tokenizer")
    cuts = {label: [tokens.content.get(step) for step in steps] for label, tokens in known.items()}
    others = [label for label, cut in cuts.items() if cut != cuts[keeper]]
    return [
        f"{label}: its tokenizer cuts texts otherwise; the merged one cuts them as {keeper}'s does" for label in others
    ]
