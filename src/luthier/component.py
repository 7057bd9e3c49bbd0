"""The base of every component, and how one is found by its kind.

A component is one frozen class: its fields are its settings, its YAML, its help and its JSON schema; its
methods are its behaviour. The folder is the registry: `kind: lora` imports `luthier/methods/lora.py` when it
is asked for, and only then. Other packages add kinds through the entry-point groups `luthier.methods`,
`luthier.tasks`, ...: an entry point names a module, and the module's name is the kind.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from luthier.errors import did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

GROUPS = {
    "methods": "luthier.methods",
    "tasks": "luthier.tasks",
    "metrics": "luthier.evaluation.metrics",
    "optimizers": "luthier.training.optimizers",
    "schedules": "luthier.training.schedules",
    "merges": "luthier.merging.methods",
    "samplers": "luthier.searching.samplers",
    "schedulers": "luthier.searching.schedulers",
}
"""Each group's package: its files are the kinds, its `__init__` holds the contract."""


@dataclass(frozen=True)
class Facts:
    """What a run knows before its first step; whatever is `auto` is resolved from it."""

    device: str = "cpu"
    """Kind of device: cpu, cuda or mps."""
    train: "Dataset | None" = None
    """The training rows, under the task's own column names."""
    num_rows: int = 0
    """Number of training rows."""
    num_parameters: int = 0
    """Parameters of the base model."""
    num_positions: int = 0
    """Most tokens that model and tokenizer take; 0 where that is not known yet."""
    learning_rate: float = 0.0
    """What the method advises for a model of this size."""
    model: Any = None
    processor: Any = None
    """The model, and its tokenizer or processor; None before they are loaded."""
    couples_rows: bool = False
    """Whether the loss couples the rows of a batch, so that a micro-batch costs a forward pass more."""
    num_steps: int | None = None
    """The steps that the method advises; None where the usual number of epochs serves."""
    num_epochs: float = 0.0
    """Epochs of the run, as far as is known before rows are made into batches; 0 where it is not."""
    probe: Callable[[], None] | None = None
    """Computes into the model's parameters the gradient of the loss on a few batches of training rows; None where
    there are no weights or no rows. Whoever gives the facts clears the gradients when all is resolved."""
    notes: list[str] = field(default_factory=list)
    """What a user should know of what was chosen; `resolve` adds to it."""


class Component(BaseModel):
    """Settings and behaviour in one frozen class; it keeps no run state."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    shorthand: ClassVar[str | None] = None
    """The field that a plain word sets, where one stands for the whole component."""

    @model_validator(mode="before")
    @classmethod
    def _word_is_shorthand(cls, value: object) -> object:
        return {cls.shorthand: value} if cls.shorthand is not None and isinstance(value, str) else value

    @field_validator("*", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: object, info: ValidationInfo) -> object:
        """YAML's lists as tuples; where only a list is allowed, a single word is a list of one."""
        if isinstance(value, list):
            return tuple(value)
        takes_a_list = get_origin(cls.model_fields[str(info.field_name)].annotation) is tuple
        return (value,) if takes_a_list and isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Settings with their help; what the validators above also take, editors must know too."""
        written = handler(schema)
        mapping = handler.resolve_ref_schema(written)
        for name, setting in cls.model_fields.items():
            shape = mapping["properties"][name]
            if get_origin(setting.annotation) is tuple and "items" in shape:
                said = {key: shape.pop(key) for key in ("description", "title", "default") if key in shape}
                mapping["properties"][name] = {"anyOf": [shape, shape["items"]], **said}
        if cls.shorthand is None:
            return written
        return {"anyOf": [{"type": "string"}, written], "description": mapping.get("description", "")}

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # mappings have no hash of their own

    @classmethod
    def kind(cls) -> str:
        """The name a user types: the name of the file that holds the class."""
        return cls.__module__.rpartition(".")[2].replace("_", "-")

    def resolve(self, facts: Facts) -> Self:
        """Fill in every `auto` and every field that depends on the data."""
        return self


def names(group: str) -> tuple[str, ...]:
    """Every kind of a group, Luthier's own and those of other packages, sorted; imports none of them."""
    return tuple(sorted(_modules(group)))


def find(group: str, kind: str) -> type[Component]:
    """The component class of a kind.

    Raises PydanticCustomError, which a recipe's error report turns into one line, where there is none.
    """
    modules = _modules(group)
    if kind not in modules:
        kind = kind.encode(errors="backslashreplace").decode()  # pydantic's errors hold no half a character
        near = did_you_mean(kind, modules)
        known = "" if near else f"; known: {', '.join(sorted(modules))}"
        raise PydanticCustomError("unknown_kind", f"no {group[:-1]} is called {kind}{near}{known}")
    return _component_in(modules[kind])


def groups_of(kind: str) -> tuple[str, ...]:
    """The groups that have this kind."""
    return tuple(group for group in GROUPS if kind in _modules(group))


def _modules(group: str) -> Mapping[str, str]:
    """Kind -> module that holds it."""
    return _modules_in(group, _folders())


@lru_cache(maxsize=64)
def _modules_in(group: str, folders: tuple[tuple[str, int], ...]) -> Mapping[str, str]:
    """The same with the packages in these folders: a file of each is read, and a recipe asks dozens of times."""
    spec = find_spec(GROUPS[group])
    assert spec is not None and spec.submodule_search_locations is not None
    own = [f"{GROUPS[group]}.{m.name}" for m in iter_modules(spec.submodule_search_locations)]
    others = [entry.value for entry in entry_points(group=f"luthier.{group}")]
    public = (module for module in [*others, *own] if not module.rpartition(".")[2].startswith("_"))
    return {module.rpartition(".")[2].replace("_", "-"): module for module in public}


def _folders() -> tuple[tuple[str, int], ...]:
    """Where packages are looked for, and when one was last added or taken away there."""
    there = (Path(folder) for folder in sys.path)
    return tuple((str(folder), folder.stat().st_mtime_ns) for folder in there if folder.exists())


def _component_in(module_name: str) -> type[Component]:
    module = import_module(module_name)
    found = [
        cls
        for name, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Component) and cls.__module__ == module_name and not name.startswith("_")
    ]
    assert len(found) == 1, f"{module_name} must hold exactly one public component, not {len(found)}"
    return found[0]


def _inlined(schema: JsonSchemaValue) -> JsonSchemaValue:
    """A schema with its definitions in the places that refer to them, so that it can stand inside another one."""
    definitions = schema.pop("$defs", {})

    def inline(value: Any) -> Any:
        if isinstance(value, list):
            return [inline(each) for each in value]
        if not isinstance(value, dict):
            return value
        referred = definitions[value["$ref"].rpartition("/")[2]] if "$ref" in value else {}
        return {key: inline(each) for key, each in {**referred, **value}.items() if key != "$ref"}

    return {key: inline(each) for key, each in schema.items()}


@dataclass(frozen=True)
class Slot:
    """Marks a field that holds a component: `method: Annotated[Method, Slot("methods")]`.

    Accepts a component, its kind, or a mapping with its kind and settings; writes the mapping.
    """

    group: str
    default: str | None = None
    """The kind of a mapping that says none; with None it must say one."""
    chosen: str | None = None
    """A word that stands for a kind that is chosen before the recipe is checked; editors must know it."""

    def __get_pydantic_core_schema__(self, contract: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def pick(value: object) -> Component:
            if isinstance(value, contract):
                return value  # type: ignore[no-any-return]
            if isinstance(value, str):
                value = {"kind": value}
            if isinstance(value, Mapping) and self.default is not None:
                value = {"kind": self.default, **value}
            if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
                example = f"{{kind: {names(self.group)[0]}}}"
                raise PydanticCustomError("no_kind", f"a {self.group[:-1]} says its kind, as in {example}")
            settings = {name: setting for name, setting in value.items() if name != "kind"}
            return find(self.group, value["kind"]).model_validate(settings)

        def write(component: Component) -> dict[str, Any]:
            return {"kind": component.kind(), **component.model_dump()}

        writer = core_schema.plain_serializer_function_ser_schema(write)
        return core_schema.no_info_plain_validator_function(pick, serialization=writer)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A kind alone, where it needs no settings, or a mapping that says it."""
        words = [{"const": self.chosen, "description": "Chosen from the data and the model."}] if self.chosen else []
        mappings = []
        for kind in names(self.group):
            choice = _inlined(find(self.group, kind).model_json_schema())
            needed = choice.get("required", [])
            if not needed:
                words.append({"const": kind, "description": choice.get("description", "")})
            choice["properties"] = {"kind": {"const": kind}, **choice.get("properties", {})}
            choice["required"] = [*([] if kind == self.default else ["kind"]), *needed]
            mappings.append(choice)
        if self.chosen:
            mappings.append({"type": "object", "properties": {"kind": {"const": self.chosen}}, "required": ["kind"]})
        return {"anyOf": [*words, *mappings]}
