"""Reads the recipe of a merge: a file in our form or in mergekit's, or a kind with a command line's options."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from luthier import recipe_yaml
from luthier.errors import MergeError, did_you_mean
from luthier.merging.recipes.fields import Fields
from luthier.merging.recipes.mergekit_yaml import read_mergekit
from luthier.merging.recipes.own_yaml import read_own
from luthier.merging.recipes.places import Place, shown
from luthier.merging.recipes.recipe import DTYPES, MergeRecipe, Parent, TokenizerChoice
from luthier.merging.recipes.settings import Plain, Setting
from luthier.merging.recipes.slices import Checks

_CREDENTIALS = re.compile(r"://[^/\s@]+@")
"""A user, a password or a token in an address."""
LINE = "merge"
"""What messages call the command line."""


def read(path: str | Path) -> MergeRecipe:
    """The recipe in a file.

    Raises MergeError, or RecipeError where it is no YAML, with the line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise MergeError(f"{path}: is no text in UTF-8") from None
    except FileNotFoundError:
        raise MergeError(f"{path}: no such recipe") from None
    except OSError as error:
        raise MergeError(f"{path}: cannot be read: {error.strerror}") from None
    return parse(text, source=path.name)


def parse(text: str, *, source: str = "merge") -> MergeRecipe:
    """The recipe in a YAML text: `merge` begins one of ours, `merge_method` one of mergekit's."""
    top = Place(recipe_yaml.load(text, source), source)
    if not isinstance(top.value, dict):
        raise top.wrong(f"the recipe of a merge is a mapping (merge: linear, models: [a, b]), not {shown(top.value)}")
    forms = [key for key in ("merge", "merge_method") if key in top.value]
    if len(forms) == 2:
        raise top.wrong("has merge, which is ours, and merge_method, which is mergekit's; say one of them")
    if not forms:
        near = next((hint for key in top.value if (hint := did_you_mean(str(key), ("merge", "merge_method")))), "")
        raise top.wrong(f"is no recipe of a merge: it says neither merge nor merge_method{near}")
    return _kept(read_own(top) if forms == ["merge"] else read_mergekit(top))


def from_options(
    kind: str,
    models: Sequence[str],
    base: str | None = None,
    *,
    style: str | None = None,
    dtype: str | None = None,
    tokenizer: str | None = None,
    chat_template: str | None = None,
    output: str | None = None,
    statistics: str | Sequence[str] = (),
    **options: str | Sequence[str],
) -> MergeRecipe:
    """The recipe that a command line says.

    An option that is said once is for all models, as often as there are models for each in turn; commas make a
    gradient from the first block to the last.
    """
    if not models:
        raise MergeError(f"{LINE}: {kind}: no models; name the folders to merge, as in luthier merge {kind} a b")
    fields = Fields.of(Place(kind, LINE), style=style or "paper")
    shared, own = _said(fields, options, len(models))
    gathered = _gathered(_listed(statistics), len(models))
    parents = [Parent(*each) for each in zip(models, [None] * len(models), own, gathered, strict=True)]
    place = Place(models, LINE)
    made = Checks(fields, base, shared).slice(place, [(place, parent) for parent in parents])
    recipe = MergeRecipe(
        kind=fields.kind,
        style=fields.own_style,
        base=base,
        modules={"": (made,)},
        settings=shared,
        dtype=None if dtype is None else Place(dtype, LINE, "--dtype").one_of("the type of the weights", DTYPES),
        tokenizer=TokenizerChoice(tokenizer),
        chat_template=chat_template,
        output=output,
        where=LINE,
    )
    return _kept(recipe)


def _gathered(folders: Sequence[str], num_models: int) -> Sequence[str | None]:
    if folders and len(folders) != num_models:
        raise MergeError(
            f"{LINE}: --statistics: said {len(folders)} times for {num_models} models; say it for each in turn"
        )
    return folders or [None] * num_models


def _kept(recipe: MergeRecipe) -> MergeRecipe:
    """A recipe that may be kept beside its result."""
    if any(_CREDENTIALS.search(model) for model in recipe.models):
        raise MergeError(
            f"{recipe.where}: an address holds a password or token, and a recipe is kept beside its result; leave it "
            "out: hf auth login or the environment variable HF_TOKEN gives it to the hub"
        )
    return recipe


def _said(
    fields: Fields, options: Mapping[str, str | Sequence[str]], num_models: int
) -> tuple[dict[str, Setting], list[dict[str, Setting]]]:
    """Settings for all models, and those of each."""
    shared = dict[str, Setting]()
    own: list[dict[str, Setting]] = [{} for _ in range(num_models)]
    for option, values in options.items():
        name = option.replace("-", "_")
        place = Place(None, LINE, f"--{option.replace('_', '-')}")
        if name not in fields.names:
            near = did_you_mean(name, fields.names)
            raise place.wrong(f"no setting of {fields.kind}{near or '; it has ' + (', '.join(fields.names) or 'none')}")
        said = [fields.setting(name, place.instead(_read(text))) for text in _listed(values)]
        if len(said) == 1:
            shared[name] = said[0]
        elif not fields.is_of_each(name):
            raise place.wrong(f"said {len(said)} times; it is one for the whole merge")
        elif len(said) != num_models:
            raise place.wrong(f"said {len(said)} times for {num_models} models; say it once, or for each in turn")
        else:
            for settings, setting in zip(own, said, strict=True):
                settings[name] = setting
    return shared, own


def _listed(values: str | Sequence[str]) -> Sequence[str]:
    return [values] if isinstance(values, str) else values


def _read(text: str) -> Plain | list[Plain]:
    parts = [_plain(part.strip()) for part in str(text).split(",")]
    return parts[0] if len(parts) == 1 else parts


def _plain(text: str) -> Plain:
    """A number, true or false, else the text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
