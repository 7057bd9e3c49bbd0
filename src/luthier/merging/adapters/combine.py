"""Several LoRAs of one base into one.

sum w_i scale_i B_i A_i is again a product, of the concatenated factors: exact, of rank sum r_i; its singular values cut
it back. Other methods merge the products, which are cut back too, or the factors apart, as PEFT's
`add_weighted_adapter` does with roots of w scale: cheap, of the same rank, not exact.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from pydantic_core import PydanticCustomError
from torch import Tensor

from luthier.component import find
from luthier.errors import MergeError
from luthier.merging.adapters import _together
from luthier.merging.adapters._magnitude_prune import MagnitudePrune
from luthier.merging.adapters._products import Products, Zeros
from luthier.merging.adapters.lora_files import Adapter, Factors, require_free, write_lora
from luthier.merging.adapters.reports import Layer, Report
from luthier.merging.adapters.truncate import Keep, of_factors, of_matrix
from luthier.merging.methods import Merge
from luthier.merging.parents.checkpoint import Checkpoint, States
from luthier.merging.tensors import Source, Streamed, merged

OF_PRODUCTS = ("concatenate", "svd")
"""Kinds of products alone."""
SUMS = (*OF_PRODUCTS, "linear")
"""Kinds that add the products as they are; `linear` on the products is `svd`."""
SECOND = "lora_B"
Made = tuple[Factors, Layer]


@dataclass(frozen=True)
class Combination:
    """How several adapters become one."""

    kind: str = "concatenate"
    """concatenate, svd, linear, magnitude-prune, or any way of merging models: ties, dare-linear, dare-ties, ..."""
    weights: tuple[float, ...] = (1.0,)
    """Of each adapter; a single one is that of all."""
    on: Literal["product", "factors"] = "product"
    """What is merged: the updates B A, or A and B apart; the latter for adapters of one rank."""
    keep: Keep = field(default_factory=Keep)
    """How the merged product is cut back; where nothing is said, to the highest rank of the adapters."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The kind's own: density, seed, style, ..."""


def combine(
    folders: Sequence[Path], into: Path, *, combination: Combination | None = None, overwrite: bool = False
) -> Report:
    """Write the adapter that takes the place of some.

    Raises MergeError where one cannot be read, where they do not fit together, or where the folder is there.
    """
    require_free(into, overwrite=overwrite)
    how, adapters = combination or Combination(), _together.read_all(folders)
    adapter, layers = combined_adapter(adapters, how, label=into.name)
    write_lora(adapter, into, overwrite=overwrite)
    said = how.kind if how.kind in OF_PRODUCTS else f"{how.kind} on the {how.on}"
    notes = _together.notes_of(adapters)
    return Report(into, said, layers, _is_cut(how), len(adapter.whole), notes=notes)


@torch.no_grad()
def combined_adapter(
    adapters: Sequence[Adapter], how: Combination, *, label: str = "merged"
) -> tuple[Adapter, tuple[Layer, ...]]:
    """The merged adapter, and what it keeps of each layer; the adapters must have labels that differ.

    Raises MergeError where they do not fit together.
    """
    _together.require_one_base(adapters)
    weights = _weights(how, len(adapters))
    if how.on == "factors" and how.kind not in OF_PRODUCTS:
        made = _on_factors(adapters, how, weights)
    elif how.kind in SUMS:
        made = _sums(adapters, how, weights)
    else:
        made = _on_products(adapters, how, weights)
    found = dict(made)
    layers, settings = {name: factors for name, (factors, _) in found.items()}, _together.settings_of(adapters)
    adapter = Adapter(label, layers, _together.whole_of(adapters), settings, _together.base_of(adapters))
    return adapter, tuple(layer for _, layer in found.values())


def _is_cut(how: Combination) -> bool:
    return how.kind == "svd" or (how.kind != "concatenate" and how.on == "product")


def _weights(how: Combination, num: int) -> tuple[float, ...]:
    if len(how.weights) not in (1, num):
        raise MergeError(f"weights: {len(how.weights)} numbers for {num} adapters; say one for each")
    if not all(map(math.isfinite, how.weights)):
        raise MergeError("weights: one is no finite number")
    return how.weights * num if len(how.weights) == 1 else how.weights


def _sums(adapters: Sequence[Adapter], how: Combination, weights: Sequence[float]) -> Iterator[tuple[str, Made]]:
    """Products added, whole or cut back; no product is formed."""
    keep = _kept(adapters, how)
    for name in _together.layers_of(adapters):
        having = [(a.layers[name], w) for a, w in zip(adapters, weights, strict=True) if name in a.layers]
        A = torch.cat([factors.A.float() for factors, _ in having])
        B = torch.cat([factors.B.float() * (factors.scale * weight) for factors, weight in having], dim=1)
        is_embedding = having[0][0].is_embedding
        if how.kind == "concatenate":
            energy = float(((B.T.double() @ B.double()) * (A.double() @ A.T.double())).sum())
            yield name, (Factors(A, B, 1.0, is_embedding), Layer(name, len(A), energy, energy))
        else:
            cut = of_factors(B, A, keep=keep)
            yield name, (Factors(cut.A, cut.B, 1.0, is_embedding), Layer.of(name, cut))


def _on_products(adapters: Sequence[Adapter], how: Combination, weights: Sequence[float]) -> Iterator[tuple[str, Made]]:
    """Products merged one after the other, each cut back; where an adapter has no update, it is zero."""
    method, keep, names = _method(how, weights), _kept(adapters, how), _together.layers_of(adapters)
    shapes = {name: _first(adapters, name).shape for name in names}
    held = [Products(adapter, shapes) for adapter in adapters]
    for name, matrix in _merged(held, names, lambda name: method):
        cut = of_matrix(matrix, keep=keep)
        yield name, (Factors(cut.A, cut.B, 1.0, _first(adapters, name).is_embedding), Layer.of(name, cut))


def _on_factors(adapters: Sequence[Adapter], how: Combination, weights: Sequence[float]) -> Iterator[tuple[str, Made]]:
    """A and B merged apart, weighted by the roots of weight times scale; a sign goes with A."""
    method, names = _method(how, weights), _together.layers_of(adapters)
    if "weight" not in type(method).model_fields:
        raise MergeError(f"{how.kind}: has no weights of models, so it cannot merge factors; say on: product")
    held = [States(_factors(adapter, adapters), adapter.label) for adapter in adapters]

    def weighted(key: str) -> Merge:
        name, _, factor = key.rpartition(".")
        found = [w * a.layers[name].scale if name in a.layers else 0.0 for a, w in zip(adapters, weights, strict=True)]
        roots = [math.sqrt(abs(w)) * (-1.0 if w < 0 and factor != SECOND else 1.0) for w in found]
        return method.model_copy(update={"weight": tuple(roots)})

    tensors = dict(_merged(held, [key for name in names for key in _keys(name)], weighted))
    for name in names:
        A, B = (tensors[key] for key in _keys(name))
        energy = float(((B.T @ B).double() * (A @ A.T).double()).sum())
        yield name, (Factors(A, B, 1.0, _first(adapters, name).is_embedding), Layer(name, len(A), energy, energy))


def _merged(
    held: Sequence[Checkpoint], names: Sequence[str], method: Callable[[str], Merge]
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor merged, as updates of a base that is zero."""
    first = method(names[0])
    updates = _Updates(tuple(held), tuple(names), first.needs_base != "no")
    surveyed = first.survey(updates) if first.surveys else None
    for tensors in updates:
        yield tensors.name, torch.cat([rows for _, rows in merged(tensors, method(tensors.name), surveyed)]).float()


@dataclass(frozen=True)
class _Updates:
    """Every tensor; anew each time that they are gone through, as a tensor keeps what was read of it."""

    held: tuple[Checkpoint, ...]
    names: tuple[str, ...]
    has_base: bool

    def __iter__(self) -> Iterator[Streamed]:
        zeros, labels = Zeros(self.held[0]), tuple(each.label for each in self.held)
        for name in self.names:
            base = Source(zeros, name) if self.has_base else None
            yield Streamed(name, tuple(Source(each, name) for each in self.held), labels, base)


def _factors(adapter: Adapter, adapters: Sequence[Adapter]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name in _together.layers_of(adapters):
        first, own = _first(adapters, name), adapter.layers.get(name)
        if own is not None and own.rank != first.rank:
            raise MergeError(
                f"{adapter.label}: {name} has rank {own.rank}, another adapter {first.rank}, so factors cannot be "
                "merged; say on: product"
            )
        pair = (own.A, own.B) if own else (torch.zeros_like(first.A), torch.zeros_like(first.B))
        tensors |= {key: tensor.float() for key, tensor in zip(_keys(name), pair, strict=True)}
    return tensors


def _keys(name: str) -> tuple[str, str]:
    return f"{name}.lora_A", f"{name}.{SECOND}"


def _first(adapters: Sequence[Adapter], name: str) -> Factors:
    return next(adapter.layers[name] for adapter in adapters if name in adapter.layers)


def _kept(adapters: Sequence[Adapter], how: Combination) -> Keep:
    if how.keep.rank is not None or how.keep.energy is not None:
        return how.keep
    return Keep(rank=max(factors.rank for adapter in adapters for factors in adapter.layers.values()))


def _method(how: Combination, weights: Sequence[float]) -> Merge:
    """The kind with its settings; on factors in PEFT's style, where nothing else is said."""
    try:
        kind = MagnitudePrune if how.kind == "magnitude-prune" else find("merges", how.kind)
        assert issubclass(kind, Merge)
        said: dict[str, Any] = {"weight": tuple(weights)} if "weight" in kind.model_fields else {}
        if how.kind == "linear":
            said["normalize"] = False
        if how.on == "factors" and "peft" in kind.styles:
            said["style"] = "peft"
        method = kind.model_validate({**said, **how.settings})
    except PydanticCustomError as error:
        raise MergeError(f"{error.message()}; of adapters also: {', '.join(SUMS)}, magnitude-prune") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise MergeError(f"{how.kind}: {'.'.join(map(str, first['loc'])) or 'settings'}: {first['msg']}") from None
    if method.statistics != "none":
        raise MergeError(
            f"{how.kind}: needs statistics of data, which adapters have none of; fold them and merge models"
        )
    return method
