"""The choice of words in a merge's recipe: whose tokenizer, and where the rows of single tokens come from."""

from collections.abc import Callable, Collection
from dataclasses import replace

from luthier.errors import did_you_mean
from luthier.merging.recipes.places import Place
from luthier.merging.recipes.recipe import TokenizerChoice, TokenSource

SOURCES = ("union", "base")
NamesModel = Callable[[Place], str]


def chosen(place: Place, names_model: NamesModel) -> TokenizerChoice:
    """Whose tokens the result has: a word or a model alone, or a mapping with source, tokens, pad_to_multiple_of."""
    if not place.is_mapping:
        return TokenizerChoice(_source(place, names_model))
    said = _said(place, ("source", "tokens", "pad_to_multiple_of"), "a tokenizer")
    tokens = said["tokens"].entries("tokens") if "tokens" in said else {}
    multiple = said["pad_to_multiple_of"].whole("pad_to_multiple_of", least=1) if "pad_to_multiple_of" in said else None
    source = _source(said["source"], names_model) if "source" in said else "union"
    return TokenizerChoice(source, {name: _token(each, names_model) for name, each in tokens.items()}, multiple)


def _source(place: Place, names_model: NamesModel) -> str:
    return str(place.value) if place.value in SOURCES else names_model(place)


def _token(place: Place, names_model: NamesModel) -> TokenSource:
    said = _said(place, ("source", "force"), "a token")
    source = _row(said["source"], names_model) if "source" in said else TokenSource()
    return replace(source, force=said["force"].truth("force") if "force" in said else False)


def _row(place: Place, names_model: NamesModel) -> TokenSource:
    if not (place.is_mapping and "kind" in place.value):
        return TokenSource(names_model(place))
    said = _said(place, ("kind", "model", "token", "token_id"), "a token's source")
    if "kind" not in said:
        raise place.wrong("a token's kind is zero or model_token, not null")
    if said["kind"].one_of("a token's kind", ("zero", "model_token")) == "zero":
        return TokenSource(is_zero=True)
    if "model" not in said or ("token" in said) == ("token_id" in said):
        raise place.wrong("a model_token has a model, and either a token or a token_id")
    token = said["token"].text("a token") if "token" in said else said["token_id"].whole("a token_id")
    return TokenSource(names_model(said["model"]), token)


def _said(place: Place, keys: Collection[str], what: str) -> dict[str, Place]:
    entries = place.entries(what)
    for key, each in entries.items():
        if key not in keys:
            raise each.wrong(f"unknown key of {what}{did_you_mean(key, keys) or '; it has ' + ', '.join(keys)}")
    return {key: each for key, each in entries.items() if each.value is not None}
