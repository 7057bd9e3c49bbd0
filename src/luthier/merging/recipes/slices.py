"""Slices as a file gives them, checked: their models, the blocks these give, and that every setting has a value."""

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.merging.recipes.fields import Fields
from luthier.merging.recipes.places import Place
from luthier.merging.recipes.recipe import NOTHING, Parent, Settings, Slice
from luthier.merging.recipes.settings import before, conditions

Said = tuple[Place, Parent]
"""A model, and where the file names it."""


@dataclass(frozen=True)
class Checks:
    """What must hold for every slice of a file."""

    fields: Fields
    base: str | None
    settings: Settings
    """For the whole merge."""

    def slice(
        self, place: Place, said: Sequence[Said], *, base: str | None = None, settings: Settings = NOTHING
    ) -> Slice:
        """A slice; raises MergeError where it cannot be merged, whatever the models hold."""
        made = Slice(tuple(parent for _, parent in said), base, settings)
        self._require_distinct(said)
        self._require_as_many_blocks(said)
        merged = self._merged(made, said)
        self._require_models(place, made, merged)
        for name in self.fields.names:
            self._require_value(place, name, made, merged)
        self._require_whole(place, made, merged)
        return made

    def _merged(self, made: Slice, said: Sequence[Said]) -> list[Said]:
        """The models that count: a base that is listed among them is one only where no base has a meaning."""
        if self.fields.merge.needs_base == "no":
            return list(said)
        return [each for each in said if each[1].model != (made.base or self.base)]

    def _require_distinct(self, said: Sequence[Said]) -> None:
        seen = set[str]()
        for place, parent in said:
            if parent.model in seen:
                raise place.wrong(f"{parent.model} is named twice; name it once, with one weight")
            seen.add(parent.model)

    def _require_as_many_blocks(self, said: Sequence[Said]) -> None:
        first = said[0][1]
        for place, parent in said[1:]:
            if (parent.layers is None) != (first.layers is None):
                whole, part = (first, parent) if first.layers is None else (parent, first)
                raise place.wrong(f"{part.model} gives some blocks and {whole.model} all; say which for both")
            if parent.layers and first.layers and _num(parent) != _num(first):
                raise place.wrong(
                    f"{parent.model} gives {_num(parent)} blocks and {first.model} {_num(first)}; "
                    "models of one slice give as many"
                )

    def _require_models(self, place: Place, made: Slice, merged: Sequence[Said]) -> None:
        merge, base = self.fields.merge, made.base or self.base
        if merge.needs_base == "yes" and base is None:
            word = "base_model" if self.fields.is_theirs else "base"
            raise place.wrong(f"{self.fields.kind} needs the model that the others began as; say {word}: ...")
        least, most = merge.num_models
        if len(merged) < least or (most is not None and len(merged) > most):
            wanted = f"{least}" if most == least else f"{least} or more" if most is None else f"{least} to {most}"
            beside = " beside the base" if merge.needs_base != "no" and base is not None else ""
            plural = "model" if wanted == "1" else "models"
            raise place.wrong(f"{self.fields.kind} takes {wanted} {plural}{beside}, not {len(merged)}")

    def _require_value(self, place: Place, name: str, made: Slice, merged: Sequence[Said]) -> None:
        """A setting that some models have, or that the kind has no default of, has a value everywhere."""
        field = self.fields.merge.model_fields[name]
        if name in made.settings or name in self.settings:
            return
        is_needed = field.is_required() or name in self.fields.needed
        if not self.fields.is_of_each(name):
            if is_needed:
                raise place.wrong(f"{self.fields.kind} needs {name}, and it is not said")
            return
        having = [parent.model for _, parent in merged if name in parent.settings]
        lacking = [each for each in merged if name not in each[1].settings]
        if lacking and (having or is_needed):
            where, parent = lacking[0]
            others = f", {having[0]} has" if having else ""
            raise where.wrong(f"{parent.model} has no {name}{others}; say it for this model, or once for all")

    def _require_whole(self, place: Place, made: Slice, merged: Sequence[Said]) -> None:
        """Where no value depends on a tensor's name, the settings of the first and the last block make a method."""
        levels = [self.settings, made.settings, *(parent.settings for _, parent in merged)]
        if any(has_conditions(level) for level in levels):
            return
        for at in (0.0, 1.0):
            found = self.fields.of_tensor(
                (made.settings, self.settings),
                [parent.settings for _, parent in merged],
                tensor="",
                at=at,
                selects=lambda selector, tensor: False,
            )
            self.fields.whole(found, place)


def has_conditions(settings: Settings) -> bool:
    """Whether some value is for some tensors only."""
    return any(part.selector not in (None, "all") for setting in settings.values() for part in conditions(setting))


def over(settings: Settings, module: Settings) -> Settings:
    """A slice's settings, and those of its module for what it does not say."""
    found = dict(settings)
    for name, setting in module.items():
        found[name] = before(found[name], setting) if name in found else setting
    return found


def _num(parent: Parent) -> int:
    assert parent.layers is not None, "only where every model says its blocks"
    return parent.layers[1] - parent.layers[0]
