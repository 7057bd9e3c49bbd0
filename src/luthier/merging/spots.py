"""Where each tensor of a merged model comes from: its slice, and its name in each of the slice's models."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

from luthier.errors import MergeError
from luthier.merging.parents.blocks import Blocks
from luthier.merging.parents.checkpoint import Checkpoint
from luthier.merging.recipes.recipe import MergeRecipe, Slice

_BEFORE = re.compile(r"emb(?!ed_out)|wte|wpe")
"""In the names of what lies before the blocks; GPT-NeoX calls its head embed_out."""


@dataclass(frozen=True)
class Spot:
    """A tensor of the result: the slice it comes from, and what it is called in each of its parents."""

    name: str
    slice: Slice
    inputs: tuple[str, ...]
    at: float
    """How far through its slice's blocks it lies, from 0 to 1; 0 outside of blocks."""


@dataclass(frozen=True)
class Layout:
    """The tensors of the result, as a recipe puts them together."""

    recipe: MergeRecipe
    reference: str
    """The model whose names the result has."""
    checkpoints: Mapping[str, Checkpoint]
    """By the model's name as typed."""
    dropped: Set[str]
    """Names that are not written, as they are ties."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the reference's tensors."""
        return tuple(name for name in self.checkpoints[self.reference].specs if name not in self.dropped)

    @cached_property
    def blocks(self) -> Blocks:
        return Blocks.of(self.names, self.checkpoints[self.reference].config)

    @property
    def is_whole(self) -> bool:
        """Whether every model gives all of its blocks, once."""
        return gives_all(self.recipe)

    def spots(self) -> Iterator[Spot]:
        """Every tensor of the result; raises MergeError where a slice names what is not there."""
        for prefix, slices in self._modules.items():
            names = [name for name in self.names if name.startswith(prefix)]
            if len(slices) == 1 and all(parent.layers is None for parent in slices[0].parents):
                yield from (self._whole(name, slices[0]) for name in names)
            else:
                yield from self._sliced(names, slices, self._stack(prefix))
        first = self.recipe.slices[0]  # what lies in no module goes with the first
        yield from (self._whole(name, first) for name in self.names if not name.startswith(tuple(self._modules)))

    @cached_property
    def _modules(self) -> dict[str, tuple[Slice, ...]]:
        """Slices by what the names of their tensors begin with; a recipe of one module means the whole model."""
        modules = self.recipe.modules
        if len(modules) == 1:
            return {"": next(iter(modules.values()))}
        names = self.names
        found = dict[str, tuple[Slice, ...]]()
        for module, slices in modules.items():
            near = sorted({name[: name.index(f"{module}.")] for name in names if f".{module}." in f".{name}"}, key=len)
            if not near:
                raise MergeError(f"{self.recipe.where}: modules: no tensor of {self.reference} lies in {module}")
            found[f"{near[0]}{module}."] = slices
        return found

    def _whole(self, name: str, of: Slice) -> Spot:
        place = self.blocks.place(name)
        at = 0.0
        if place is not None:
            last = self.blocks.stacks[place[0]] - 1
            at = place[1] / last if last else 1.0
        return Spot(name, of, (name,) * len(of.parents), at)

    def _sliced(self, names: list[str], slices: Sequence[Slice], prefix: str) -> Iterator[Spot]:
        """Tensors before the blocks come from the first slice's models, those after them from the last one's."""
        outside = [name for name in names if self.blocks.place(name) is None]
        before = {name for name in outside if _BEFORE.search(name)}  # a file's own order is that of the alphabet
        for name in outside:
            of = slices[0] if name in before else slices[-1]
            yield Spot(name, of, (name,) * len(of.parents), 0.0)
        number = 0
        for of in slices:
            ranges = [parent.layers or (0, self.blocks.stacks[prefix]) for parent in of.parents]
            num = ranges[0][1] - ranges[0][0]
            for index in range(num):
                at = index / (num - 1) if num > 1 else 1.0
                for name in self._of_block(of.parents[0].model, prefix, ranges[0][0] + index):
                    inputs = tuple(self.blocks.renamed(name, begin + index) for begin, _ in ranges)
                    yield Spot(self.blocks.renamed(name, number), of, inputs, at)
                number += 1

    def _stack(self, module: str) -> str:
        found = [stack for stack in self.blocks.stacks if stack.startswith(module)]
        if len(found) != 1:
            known = ", ".join(found) or "none"
            where = f"in {module}" if module else "in this model"
            raise MergeError(f"{self.recipe.where}: slices need one list of blocks; {where} there is {known}")
        return found[0]

    @property
    def stacked(self) -> dict[str, list[int]]:
        """Of each list of blocks that is sliced, the number that each block of the result had."""
        made = dict[str, list[int]]()
        if self.is_whole:
            return made
        for module, slices in self._modules.items():
            if len(slices) > 1 or any(parent.layers is not None for parent in slices[0].parents):
                prefix = self._stack(module)
                ranges = [of.parents[0].layers or (0, self.blocks.stacks[prefix]) for of in slices]
                made[prefix] = [number for begin, end in ranges for number in range(begin, end)]
        return made

    def _of_block(self, model: str, prefix: str, number: int) -> list[str]:
        found = [
            name
            for name in self.checkpoints[model].specs
            if self.blocks.place(name) == (prefix, number) and name not in self.dropped
        ]
        if not found:
            raise MergeError(f"{self.recipe.where}: {model} has no block {number}; its blocks are counted from 0")
        return found


def gives_all(recipe: MergeRecipe) -> bool:
    """Whether every model of a recipe gives all of its blocks, once."""
    is_one = all(len(slices) == 1 for slices in recipe.modules.values())
    return is_one and all(parent.layers is None for each in recipe.slices for parent in each.parents)
