"""The card of a merged model: README.md as the Hugging Face hub reads it. It holds no path of this machine."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from luthier.data.places import public_name

_PATH = re.compile(r"^(/|~|\.{1,2}/|[A-Za-z]:[\\/])")


def merge_card(
    name: str,
    *,
    kind: str,
    models: Sequence[str],
    base: str | None,
    recipe: Mapping[str, Any],
    notes: Sequence[str] = (),
    library: str = "transformers",
) -> str:
    """`models` and `base` as typed; `recipe` as plain mappings and lists, in which they stand the same way."""
    typed = dict.fromkeys([*([base] if base else []), *models])
    front = {"library_name": library, "tags": ["merge", "luthier"], "base_model": _parts(typed)}
    about = f"A merge of {len(models)} model{'s' if len(models) != 1 else ''} by the method `{kind}` of Luthier"
    about += f", on the base {_plain(shown(base))}." if base else "."
    listed = "\n".join(f"- {_plain(shown(model))}" for model in dict.fromkeys(models))
    written = _yaml(_public(recipe, frozenset(typed)))
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", written)), default=0))
    parts = [f"---\n{_yaml(_quoted(front))}---", f"# {_plain(name)}", about, "## Models", listed]
    parts += ["## Recipe", f"{fence}yaml\n{written}{fence}"]
    if notes:
        told = [_plain(_without_paths(note, frozenset(typed))) for note in notes]
        parts += ["## To know", "\n".join(f"- {note}" for note in told)]
    return "\n\n".join(parts) + "\n"


def shown(model: str) -> str:
    """A model's name as others may read it; `model+adapter` stays two names."""
    return "+".join(public_name(part.strip()) for part in model.split("+"))


def _parts(models: Mapping[str, Any]) -> list[str]:
    """Models and adapters, each once."""
    return list(dict.fromkeys(part for model in models for part in shown(model).split("+")))


def _public(value: Any, typed: frozenset[str]) -> Any:
    """The recipe with every model, and whatever else is a path, by its public name."""
    if isinstance(value, Mapping):
        return {_public(key, typed): _public(inner, typed) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_public(inner, typed) for inner in value]
    if isinstance(value, str) and "\n" not in value and (value in typed or _PATH.match(value)):
        return shown(value)
    return value


def _without_paths(text: str, typed: frozenset[str]) -> str:
    for model in sorted(typed - {".", ".."}, key=len, reverse=True):
        text = text.replace(model, shown(model))
    return text


def _yaml(content: Any) -> str:
    stream, yaml = io.StringIO(), YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 10_000
    yaml.dump(content, stream)
    return stream.getvalue()


def _quoted(value: Any) -> Any:
    """Every text in quotes: the hub reads YAML 1.1, where a bare no is false and 1e5 may be a text."""
    if isinstance(value, Mapping):
        return {key: _quoted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_quoted(inner) for inner in value]
    return DoubleQuotedScalarString(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    """A text of which Markdown makes nothing else."""
    return re.sub(r"([\\`*_\[\]|~$<])", r"\\\1", " ".join(text.split()))
