"""Our own form of a merge's recipe, shorter than mergekit's.

    merge: ties                       # or {kind: ties, density: 0.2, style: paper}
    base: path-or-package
    models: {a: 0.6, b: 0.4}          # or [a, b], or [{model: a, weight: 0.6, density: [0.3, 0.7]}]
    weight: {attention: 0.3, feed-forward: 0.6}
    slices: ...                       # in place of models: [{model: a, layers: [0, 8]}, {models: ..., t: 0.5}]

A setting may stand at the top, in a slice, and beside a model, where it has the first word. A list is a gradient from
the first block to the last; under selectors the last that fits counts.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from luthier.errors import did_you_mean
from luthier.merging.recipes.fields import Fields
from luthier.merging.recipes.places import Place, shown
from luthier.merging.recipes.recipe import DTYPES, NOTHING, MergeRecipe, Parent, Settings, Slice, TokenizerChoice
from luthier.merging.recipes.slices import Checks, Said, over
from luthier.merging.recipes.tokens import chosen

TOP = ("merge", "base", "models", "slices", "modules", "dtype", "tokenizer", "chat_template", "output")
SLICE, MODEL = ("models", "base"), ("model", "layers", "statistics")
INSTEAD: Mapping[str, str] = MappingProxyType(
    {
        **{"base_model": "base", "sources": "models", "layer_range": "layers", "tokenizer_source": "tokenizer"},
        **{"out_dtype": "dtype", "lambda": "scale", "merge_method": "merge"},
    }
)
"""mergekit's words, and ours."""


def read_own(top: Place) -> MergeRecipe:
    """The recipe in a file of our form."""
    entries = top.entries("a merge")
    fields, settings = _kind(entries["merge"])
    for name, setting in _settings(entries, TOP, fields, "a merge", is_shared=True).items():
        if name in settings:
            raise entries[name].wrong("stands under merge too; say it once")
        settings[name] = setting
    base = _text(entries, "base", "the base")
    reader = _Reader(fields, base, settings)
    tokenizer = _value(entries, "tokenizer")
    dtype = _value(entries, "dtype")
    return MergeRecipe(
        kind=fields.kind,
        style=fields.own_style,
        base=base,
        modules=reader.modules(top, entries),
        settings=settings,
        dtype=dtype.one_of("the type of the weights", DTYPES) if dtype else None,
        tokenizer=chosen(tokenizer, lambda place: place.text("a model")) if tokenizer else TokenizerChoice(),
        chat_template=_text(entries, "chat_template", "a chat template"),
        output=_text(entries, "output", "the output"),
        where=top.source,
    )


def _kind(place: Place) -> tuple[Fields, dict[str, Any]]:
    """The kind of merge and what stands beside it."""
    if not place.is_mapping:
        return Fields.of(place), {}
    entries = place.entries("merge")
    if "kind" not in entries:
        raise place.wrong("says no kind, as in merge: {kind: ties, density: 0.2}")
    style = entries["style"].text("a style") if "style" in entries else "paper"
    fields = Fields.of(entries["kind"], style=style)
    return fields, dict(_settings(entries, ("kind", "style"), fields, "merge", is_shared=True))


@dataclass(frozen=True)
class _Reader:
    fields: Fields
    base: str | None
    settings: Settings
    """Of the whole merge."""

    def modules(self, top: Place, entries: Mapping[str, Place]) -> dict[str, tuple[Slice, ...]]:
        """Slices by module; "" is the whole model."""
        held = [name for name in ("models", "slices", "modules") if _value(entries, name)]
        if len(held) != 1:
            found = " and ".join(held) or "none of them"
            raise top.wrong(f"a merge has exactly one of models, slices and modules; this one has {found}")
        if held != ["modules"]:
            return {"": self._parts(top, entries, NOTHING)}
        parts = entries["modules"].entries("modules")
        if not parts:
            raise entries["modules"].wrong("names no module")
        return {name: self._module(place) for name, place in parts.items()}

    def _module(self, place: Place) -> tuple[Slice, ...]:
        entries = place.entries("a module")
        if ("models" in entries) == ("slices" in entries):
            raise place.wrong("a module has either models or slices")
        return self._parts(place, entries, _settings(entries, ("models", "slices"), self.fields, "a module"))

    def _parts(self, place: Place, entries: Mapping[str, Place], module: Settings) -> tuple[Slice, ...]:
        if "slices" in entries:
            return tuple(self._slice(each, module) for each in entries["slices"].items("slices"))
        return (self._checks.slice(place, self._models(entries["models"]), settings=module),)

    @property
    def _checks(self) -> Checks:
        return Checks(self.fields, self.base, self.settings)

    def _slice(self, place: Place, module: Settings) -> Slice:
        """Models with their blocks, or one model with its own, in short."""
        entries = place.entries("a slice")
        if "model" in entries:
            return self._checks.slice(place, [self._model(place)], settings=module)
        own = _settings(entries, SLICE, self.fields, "a slice", is_shared=True)
        if "models" not in entries:
            raise place.wrong("a slice has models: [{model: ..., layers: [0, 12]}], or one model and its layers")
        base = _text(entries, "base", "the base")
        return self._checks.slice(place, self._models(entries["models"]), base=base, settings=over(own, module))

    def _models(self, place: Place) -> list[Said]:
        if place.is_mapping:
            models = place.entries("models")
            if not models:
                raise place.wrong("names no model")
            return [self._named(name, each) for name, each in models.items()]
        return [self._model(each) for each in place.items("models")]

    def _named(self, name: str, place: Place) -> Said:
        """A model that is a key: its value is its weight, or all that is said of it."""
        if place.value is None:
            return place, Parent(name)
        if place.is_mapping:
            return place, self._parent(name, place.entries("a model"), MODEL[1:])
        if "weight" not in self.fields.names:
            raise place.wrong(f"{self.fields.kind} has no weights; write models: [a, b], or {{a: {{layers: [0, 4]}}}}")
        return place, Parent(name, None, {"weight": self.fields.setting("weight", place)})

    def _model(self, place: Place) -> Said:
        """A model in a list: its name, or a mapping that holds it."""
        if not place.is_mapping:
            return place, Parent(place.text("a model"))
        entries = place.entries("a model")
        if "model" not in entries:
            raise place.wrong(f"does not say its model, as in {{model: a, weight: 0.6}}; it says {shown(place.value)}")
        return place, self._parent(entries["model"].text("a model"), entries, MODEL)

    def _parent(self, name: str, entries: Mapping[str, Place], keys: Collection[str]) -> Parent:
        layers = _value(entries, "layers")
        settings = _settings(entries, keys, self.fields, "a model")
        for setting in settings:
            if not self.fields.is_of_each(setting):
                raise entries[setting].wrong(
                    "is of the whole merge, not of one model; say it at the top, or in a slice"
                )
        gathered = _text(entries, "statistics", "a folder of statistics")
        return Parent(name, layers.blocks("layers") if layers else None, settings, gathered)


def _settings(
    entries: Mapping[str, Place], keys: Collection[str], fields: Fields, what: str, *, is_shared: bool = False
) -> dict[str, Any]:
    """Whatever is none of the keys must be a setting of the kind.

    A list that is shared by models could be a gradient over blocks, or one number for each model, so it is refused.
    """
    found = dict[str, Any]()
    for name, place in entries.items():
        if name in keys:
            continue
        if name not in fields.names:
            raise place.wrong(_unknown(name, keys, fields, what))
        if is_shared and place.is_list and fields.is_of_each(name):
            raise place.wrong(
                "a list here could mean one number for each model; say it beside each model, "
                f"or as a gradient over blocks: {name}: {{all: {shown(place.value)}}}"
            )
        found[name] = fields.setting(name, place)
    return found


def _unknown(name: str, keys: Collection[str], fields: Fields, what: str) -> str:
    ours = INSTEAD.get(name)
    if ours in (*keys, *fields.names):
        return f"is mergekit's name; here it is {ours}"
    if name == "parameters":
        return f"is mergekit's; here settings stand in {what} itself"
    known = [*keys, *fields.names]
    near = did_you_mean(name, known)
    return f"unknown in {what} by {fields.kind}{near or '; it has ' + ', '.join(known)}"


def _value(entries: Mapping[str, Place], name: str) -> Place | None:
    return entries[name] if name in entries and entries[name].value is not None else None


def _text(entries: Mapping[str, Place], name: str, what: str) -> str | None:
    place = _value(entries, name)
    return place.text(what) if place else None
