"""mergekit's files, as they are: models, slices or modules, with parameters at every level.

Goddard et al. 2024, https://arxiv.org/abs/2403.13257. What mergekit passes over is passed over here and told in the
notes; a key that is nearly one of its own is a mistake.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from luthier.errors import did_you_mean
from luthier.merging.recipes.fields import Fields
from luthier.merging.recipes.places import Place
from luthier.merging.recipes.recipe import DTYPES, NOTHING, MergeRecipe, Parent, Settings, Slice, TokenizerChoice
from luthier.merging.recipes.settings import Setting
from luthier.merging.recipes.slices import Checks, Said, over
from luthier.merging.recipes.tokens import SOURCES, chosen

_DELTAS = ("weight", "density", "lambda", "normalize", "rescale", "int8_mask")
PARAMETERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "linear": ("weight", "normalize"),
        "slerp": ("t",),
        "nuslerp": ("weight", "nuslerp_flatten", "nuslerp_row_wise"),
        "multislerp": ("weight", "normalize_weights", "eps"),
        "karcher": ("max_iter", "tol"),
        **dict.fromkeys(("task-arithmetic", "ties", "dare-linear", "dare-ties"), _DELTAS),
        **dict.fromkeys(("breadcrumbs", "breadcrumbs-ties"), (*_DELTAS, "gamma")),
        **dict.fromkeys(("della", "della-linear"), (*_DELTAS, "epsilon")),
        "model-stock": ("filter_wise",),
        "sce": ("select_topk", "int8_mask"),
        "ram": ("epsilon",),
        "ramplus-tl": ("r", "alpha", "epsilon"),
        "nearswap": ("t",),
        "arcee-fusion": (),
        "passthrough": ("scale",),
    }
)
"""Of each of its methods; those of another one than the file's it passes over."""
NEEDED = frozenset({"weight", "t"})
"""Parameters that have no default there, wherever they are."""
OURS: Mapping[str, str] = MappingProxyType({"lambda": "scale"})
"""Its names of parameters that have another one here."""
OF_MEMORY = ("int8_mask",)
"""Parameters that say how it computes, and nothing of the result."""
TOP = (
    *("merge_method", "base_model", "models", "slices", "modules", "parameters", "dtype", "out_dtype"),
    *("tokenizer_source", "tokenizer", "chat_template"),
)
MODEL, SOURCE = ("model", "parameters"), ("model", "layer_range", "parameters")
SLICE, MODULE = ("sources", "base_model", "residual_weight", "parameters"), ("slices", "models", "parameters")


def read_mergekit(top: Place) -> MergeRecipe:
    """The recipe in a file of mergekit's."""
    notes = list[str]()
    said = _known(top, TOP, "a merge", notes)
    if "merge_method" not in said:
        raise top.wrong("a merge has a merge_method, as in merge_method: linear")
    fields = Fields.of(said["merge_method"], style="mergekit", is_theirs=True)
    fields = replace(fields, needed=NEEDED.intersection(PARAMETERS.get(fields.kind, ())))
    base = model_name(said["base_model"], notes) if "base_model" in said else None
    reader = _Reader(fields, base, NOTHING, notes)
    settings = reader.settings_at(said["parameters"], of_a_model=False) if "parameters" in said else NOTHING
    reader = replace(reader, settings=over(settings, _defaults(fields)))
    return MergeRecipe(
        kind=fields.kind,
        style=fields.own_style,
        base=base,
        modules=reader.modules(top, said),
        settings=reader.settings,
        dtype=_dtype(said, notes),
        tokenizer=_tokenizer(said, notes),
        chat_template=said["chat_template"].text("a chat template") if "chat_template" in said else None,
        notes=tuple(dict.fromkeys(notes)),
        where=top.source,
    )


@dataclass(frozen=True)
class _Reader:
    fields: Fields
    base: str | None
    settings: Settings
    """Of the whole merge."""
    notes: list[str] = field(default_factory=list)

    def modules(self, top: Place, said: Mapping[str, Place]) -> dict[str, tuple[Slice, ...]]:
        """Slices by module."""
        held = [name for name in ("models", "slices", "modules") if name in said and said[name].value]
        if len(held) != 1:
            found = " and ".join(held) or "none of them"
            raise top.wrong(f"a merge has exactly one of models, slices and modules; this one has {found}")
        if held == ["modules"]:
            parts = said["modules"].entries("modules")
            if not parts:
                raise said["modules"].wrong("names no module")
            return {name: self._module(part) for name, part in parts.items()}
        return {"": self._parts(said, NOTHING)}

    def _module(self, place: Place) -> tuple[Slice, ...]:
        said = _known(place, MODULE, "a module", self.notes)
        said = {key: each for key, each in said.items() if each.value}
        if ("slices" in said) == ("models" in said):
            raise place.wrong("a module has either slices or models")
        settings = self.settings_at(said["parameters"], of_a_model=False) if "parameters" in said else NOTHING
        return self._parts(said, settings)

    def _parts(self, said: Mapping[str, Place], module: Settings) -> tuple[Slice, ...]:
        if "models" in said:
            return (self._of_models(said["models"], module),)
        return tuple(self._slice(place, module) for place in said["slices"].items("slices"))

    def _of_models(self, place: Place, module: Settings) -> Slice:
        said = [self._model(each) for each in place.items("models")]
        counts_the_base = self.fields.merge.needs_base == "no" and self.fields.kind != "passthrough"
        if counts_the_base and self.base is not None and self.base not in [parent.model for _, parent in said]:
            said.append((place, Parent(self.base)))
            self.notes.append(f"{self.fields.kind} has no base: {self.base} is one of its models, as in mergekit")
        return self._checks.slice(place, said, settings=module)

    def _slice(self, place: Place, module: Settings) -> Slice:
        said = _known(place, SLICE, "a slice", self.notes)
        if "sources" not in said:
            raise place.wrong("a slice has sources: [{model: ..., layer_range: [0, 12]}]")
        if "residual_weight" in said:
            self.notes.append("residual_weight: nothing follows from it, as in mergekit")
        base = model_name(said["base_model"], self.notes) if "base_model" in said else None
        own = self.settings_at(said["parameters"], of_a_model=False) if "parameters" in said else NOTHING
        sources = [self._source(each) for each in said["sources"].items("sources")]
        return self._checks.slice(place, sources, base=base, settings=over(own, module))

    @property
    def _checks(self) -> Checks:
        return Checks(self.fields, self.base, self.settings)

    def _model(self, place: Place) -> Said:
        said = _known(place, MODEL, "a model", self.notes)
        return place, self._parent(place, said)

    def _source(self, place: Place) -> Said:
        said = _known(place, SOURCE, "a source", self.notes)
        if "layer_range" not in said:
            raise place.wrong("a source of a slice has a layer_range: [first block, block after the last]")
        return place, self._parent(place, said, said["layer_range"].blocks("a layer_range"))

    def _parent(self, place: Place, said: Mapping[str, Place], layers: tuple[int, int] | None = None) -> Parent:
        if "model" not in said:
            raise place.wrong("does not say its model")
        settings = self.settings_at(said["parameters"], of_a_model=True) if "parameters" in said else NOTHING
        return Parent(model_name(said["model"], self.notes), layers, settings)

    def settings_at(self, place: Place, *, of_a_model: bool) -> Settings:
        """Parameters under our names, those alone that this method has at this level."""
        found = dict[str, Setting]()
        known = PARAMETERS.get(self.fields.kind, self.fields.names)
        elsewhere = {key for keys in PARAMETERS.values() for key in keys}
        for key, each in place.entries("parameters").items():
            is_of_another = key not in known and key in elsewhere
            name = OURS.get(key, key)
            if key in OF_MEMORY:
                self.notes.append(f"{key}: says how mergekit keeps its masks; here nothing follows from it")
            elif is_of_another or name not in self.fields.names:
                self._pass_over(key, each, known)
            elif of_a_model and not self.fields.is_of_each(name):
                self.notes.append(f"{key} is a parameter of the whole merge; under a model it is passed over")
            else:
                found[name] = self.fields.setting(name, each)
        return found

    def _pass_over(self, key: str, place: Place, known: Collection[str]) -> None:
        near = did_you_mean(key, known)
        if near and not any(key in keys for keys in PARAMETERS.values()):
            raise place.wrong(f"unknown parameter of {self.fields.kind}{near}")
        has = f"it has {', '.join(known)}" if known else "it has none"
        self.notes.append(f"{key}: is passed over, for {self.fields.kind} does not heed it; {has}")


def _defaults(fields: Fields) -> Settings:
    """What models have that say nothing, though others may."""
    names = (name for name in fields.names if fields.is_of_each(name) and name not in fields.needed)
    found = {name: fields.default(name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def model_name(place: Place, notes: list[str]) -> str:
    """A model as one text: `path`, `path@revision`, and with an adapter `path+adapter`."""
    if not place.is_mapping:
        name = place.text("a model")
        if name.count("+") > 1:
            raise place.wrong(f"{name} has more than one +; a model has one adapter at most: model+adapter")
        return name
    said = _known(place, ("model", "lora", "override_architecture"), "a model's reference", notes)
    if "model" not in said:
        raise place.wrong("a model's reference has a model: model: {model: {path: ...}, lora: {path: ...}}")
    if "override_architecture" in said:
        notes.append("override_architecture: an architecture is read from the model's files here")
    return "+".join(_path(said[key], notes) for key in ("model", "lora") if key in said)


def _path(place: Place, notes: list[str]) -> str:
    if not place.is_mapping:
        return place.text("a model's path")
    said = _known(place, ("path", "revision"), "a model's path", notes)
    if "path" not in said:
        raise place.wrong("has no path")
    return "@".join(said[key].text(key) for key in ("path", "revision") if key in said)


def _known(place: Place, keys: Collection[str], what: str, notes: list[str]) -> dict[str, Place]:
    """What a mapping says, by its known keys, null as nothing; a key that is none of them is told."""
    entries = place.entries(what)
    for key, each in entries.items():
        if key not in keys:
            if near := did_you_mean(key, keys):
                raise each.wrong(f"unknown key of {what}{near}")
            notes.append(f"{each.path}: is nothing that a merge reads, as in mergekit")
    return {key: each for key, each in entries.items() if key in keys and each.value is not None}


def _dtype(said: Mapping[str, Place], notes: list[str]) -> str | None:
    words = {key: said[key].text(key).removeprefix("torch.") for key in ("dtype", "out_dtype") if key in said}
    for key, word in words.items():
        if word not in DTYPES:
            raise said[key].wrong(
                f"{word} is no type for weights{did_you_mean(word, DTYPES)}; known: {', '.join(DTYPES)}"
            )
    if words.get("dtype", "float32") != "float32":
        notes.append(f"dtype: {words['dtype']}: sums are made in fp32 all the same; the result is rounded once")
    return words.get("out_dtype", words.get("dtype"))


def _tokenizer(said: Mapping[str, Place], notes: list[str]) -> TokenizerChoice:
    if "tokenizer_source" in said and "tokenizer" in said:
        raise said["tokenizer_source"].wrong("tokenizer says the same; leave one of them out")
    if "tokenizer_source" in said:
        place = said["tokenizer_source"]
        return TokenizerChoice(place.value if place.value in SOURCES else model_name(place, notes))
    return (
        chosen(said["tokenizer"], lambda place: model_name(place, notes)) if "tokenizer" in said else TokenizerChoice()
    )
