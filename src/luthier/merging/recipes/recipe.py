"""The recipe of a merge: which models go into which blocks, by which method, under which settings.

Files in our form and in mergekit's become the same objects; `reading` reads them, `plan` makes tensors of them, and
`as_yaml` writes them in our form, every default written out, so that merging again repeats the merge.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from luthier import recipe_yaml
from luthier.merging.recipes.fields import Fields
from luthier.merging.recipes.places import Place
from luthier.merging.recipes.settings import Conditional, Gradient, Plain, Setting, conditions

Settings = Mapping[str, Setting]
NOTHING: Settings = MappingProxyType({})
DTYPES = ("float32", "bfloat16", "float16")
"""In which weights are written."""


@dataclass(frozen=True)
class Parent:
    """One model that goes into a slice."""

    model: str
    """As typed: a folder, package:..., a hub id; `model+adapter` applies an adapter's folder while it is read."""
    layers: tuple[int, int] | None = None
    """Its blocks from .. to, the end left out; None: all."""
    settings: Settings = field(default_factory=dict)
    statistics: str | None = None
    """Folder of what was gathered for it from data; see `statistics`."""


@dataclass(frozen=True)
class Slice:
    """Some blocks of the result in a row, and where they come from."""

    parents: tuple[Parent, ...]
    """The base is among them only where the recipe lists it, or where mergekit counts it among the models."""
    base: str | None = None
    """Where it is another than the recipe's."""
    settings: Settings = field(default_factory=dict)


@dataclass(frozen=True)
class TokenSource:
    """Where the row of one token comes from."""

    model: str | None = None
    """Its row in this model, for every model; None: each model's own, where it has one."""
    token: str | int | None = None
    """Another token, or its number, whose row of that model it is."""
    is_zero: bool = False
    """A row of zeros."""
    force: bool = False
    """Also in models that have a row of their own."""


@dataclass(frozen=True)
class TokenizerChoice:
    """Whose tokens the result has."""

    source: str | None = None
    """None: those of the base, or first model, which all must share; "union", "base", or a model."""
    tokens: Mapping[str, TokenSource] = field(default_factory=dict)
    pad_to_multiple_of: int | None = None
    """Rows of the table of words are added up to such a number."""


@dataclass(frozen=True)
class MergeRecipe:
    """Everything a merge is made of."""

    kind: str
    """Of the group "merges"."""
    style: str
    """Whose variant, where paper and tools differ."""
    base: str | None
    modules: Mapping[str, tuple[Slice, ...]]
    """Parts of a model by name; "" is the whole model."""
    settings: Settings = field(default_factory=dict)
    """For every slice and every model that says no other."""
    dtype: str | None = None
    """Of the written weights; None: as the base, or first model, has them."""
    tokenizer: TokenizerChoice = field(default_factory=TokenizerChoice)
    chat_template: str | None = None
    output: str | None = None
    """The folder of the result."""
    notes: tuple[str, ...] = ()
    """What was read and has no meaning here."""
    where: str = "merge"
    """What messages call the file."""

    @property
    def slices(self) -> tuple[Slice, ...]:
        """Those of every module."""
        return tuple(each for slices in self.modules.values() for each in slices)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model it names, each once: bases first, then in their order."""
        bases = [self.base, *(each.base for each in self.slices)]
        parents = [parent.model for each in self.slices for parent in each.parents]
        source = None if self.tokenizer.source in ("union", "base") else self.tokenizer.source
        named = [*bases, *parents, source, *(token.model for token in self.tokenizer.tokens.values())]
        return tuple(dict.fromkeys(name for name in named if name is not None))

    @property
    def statistics(self) -> tuple[str, ...]:
        """Folders of what was gathered from data, each once."""
        parents = [parent.statistics for each in self.slices for parent in each.parents]
        return tuple(dict.fromkeys(name for name in parents if name is not None))

    @property
    def levels(self) -> tuple[Settings, ...]:
        """Every place's settings, the whole merge's first."""
        parents = [parent.settings for each in self.slices for parent in each.parents]
        return (self.settings, *(each.settings for each in self.slices), *parents)


def as_yaml(recipe: MergeRecipe) -> str:
    """The recipe in our form; it is read back as it is."""
    fields = Fields.of(Place(recipe.kind, recipe.where), style=recipe.style)
    said = {name for level in recipe.levels for name in level}
    defaults = {name: fields.default(name) for name in fields.names if name not in said}
    kept = {name: value for name, value in defaults.items() if value is not None}
    merge = {"kind": recipe.kind, "style": recipe.style, **_written(recipe.settings, fields, is_shared=True), **kept}
    if not fields.merge.styles:
        del merge["style"]
    parts = {name: _slices_written(slices, fields) for name, slices in recipe.modules.items()}
    body = parts[""] if list(parts) == [""] else {"modules": parts}
    ends = {
        "dtype": recipe.dtype,
        "tokenizer": _tokenizer_written(recipe.tokenizer),
        "chat_template": recipe.chat_template,
        "output": recipe.output,
    }
    written = {"merge": merge, "base": recipe.base, **body, **ends}
    return recipe_yaml.dump({key: value for key, value in written.items() if value is not None})


def _slices_written(slices: Sequence[Slice], fields: Fields) -> dict[str, Any]:
    if len(slices) == 1 and slices[0].base is None and not slices[0].settings:
        return {"models": [_parent_written(parent, fields) for parent in slices[0].parents]}
    return {"slices": [_slice_written(each, fields) for each in slices]}


def _slice_written(made: Slice, fields: Fields) -> dict[str, Any]:
    models = [_parent_written(parent, fields) for parent in made.parents]
    base = {} if made.base is None else {"base": made.base}
    return {"models": models, **base, **_written(made.settings, fields, is_shared=True)}


def _parent_written(parent: Parent, fields: Fields) -> str | dict[str, Any]:
    layers = {} if parent.layers is None else {"layers": list(parent.layers)}
    gathered = {} if parent.statistics is None else {"statistics": parent.statistics}
    said = {**layers, **gathered, **_written(parent.settings, fields, is_shared=False)}
    return {"model": parent.model, **said} if said else parent.model


def _written(settings: Settings, fields: Fields, *, is_shared: bool) -> dict[str, Any]:
    """Settings; a gradient that models share says so, for a list could be one number for each."""
    return {
        name: _setting_written(setting, is_shared=is_shared and fields.is_of_each(name))
        for name, setting in settings.items()
    }


def _setting_written(setting: Setting, *, is_shared: bool) -> Any:
    parts = conditions(setting)
    if parts[0].selector is None and not (is_shared and isinstance(parts[0].value, tuple)):
        return _value_written(parts[0].value)
    said = dict[str, Any]()
    for part in parts:  # the first that fits holds: what follows it under the same words is never reached
        said.setdefault(_selector_written(part), _value_written(part.value))
        if part.selector in (None, "all"):
            break
    return dict(reversed(said.items()))


def _selector_written(part: Conditional) -> str:
    if part.selector is None:
        return "all"
    return f"re:{re.escape(part.selector)}" if part.is_part_of_name else part.selector


def _value_written(value: Plain | Gradient) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _tokenizer_written(choice: TokenizerChoice) -> Any:
    if not choice.tokens and choice.pad_to_multiple_of is None:
        return choice.source
    tokens = {name: _token_written(source) for name, source in choice.tokens.items()}
    said = {"source": choice.source, "tokens": tokens or None, "pad_to_multiple_of": choice.pad_to_multiple_of}
    return {key: value for key, value in said.items() if value is not None}


def _token_written(token: TokenSource) -> dict[str, Any]:
    source: Any = token.model
    if token.is_zero:
        source = {"kind": "zero"}
    elif token.token is not None:
        key = "token" if isinstance(token.token, str) else "token_id"
        source = {"kind": "model_token", "model": token.model, key: token.token}
    return {**({} if source is None else {"source": source}), "force": token.force}
