"""mergekit's files: each example is read, and means what mergekit itself makes of it; where it is installed."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.component import names
from luthier.errors import MergeError
from luthier.merging.recipes.fields import Fields
from luthier.merging.recipes.mergekit_yaml import OURS, PARAMETERS
from luthier.merging.recipes.places import Place
from luthier.merging.recipes.reading import parse
from luthier.merging.recipes.recipe import MergeRecipe, Parent, Slice, TokenSource, as_yaml

EXAMPLES = sorted((Path(__file__).parent / "mergekit_examples").glob("*.yaml"))
TENSORS = (
    "model.embed_tokens.weight",
    *(f"model.layers.1.{name}.weight" for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj")),
    *("model.layers.1.mlp.down_proj.weight", "model.layers.1.input_layernorm.weight", "model.norm.weight"),
)
PLACES = (0.0, 0.1, 1 / 3, 0.5, 2 / 3, 0.99, 1.0)
WORDS = {"normalize": {True: "weights", False: "none"}, "rescale": {True: "l1", False: "none"}}
"""What mergekit's true and false are called here, where there are more than two ways."""


def filled(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    for name in ("base", "a", "b", "lora"):
        text = text.replace(f"@{name}+", f"models/{name}+").replace(f'@{name}"', f'models/{name}"')
    return text


def read(path: Path) -> MergeRecipe:
    return parse(filled(path), source=path.name)


@cache
def fields_of(kind: str, style: str) -> Fields:
    return Fields.of(Place(kind, "test"), style=style)


def counted(recipe: MergeRecipe, of: Slice) -> list[Parent]:
    is_a_model = fields_of(recipe.kind, recipe.style).merge.needs_base == "no"
    return [parent for parent in of.parents if is_a_model or parent.model != (of.base or recipe.base)]


def made(recipe: MergeRecipe, of: Slice, tensor: str, at: float) -> Any:
    """The method that a tensor is merged with."""
    fields, parents = fields_of(recipe.kind, recipe.style), counted(recipe, of)
    own = [parent.settings for parent in parents]
    shared = (of.settings, recipe.settings)
    found = fields.of_tensor(shared, own, tensor=tensor, at=at, selects=lambda selector, name: pytest.fail(selector))
    return fields.merge.model_validate({"style": recipe.style, **found})


def their_slices(config: Any) -> Iterator[tuple[Any, Any]]:
    """Each slice as mergekit's planner would have it: models are slices of all layers, the base among them."""
    from mergekit.config import InputSliceDefinition, OutputModuleDefinition, OutputSliceDefinition

    modules = config.modules or {"": OutputModuleDefinition(models=config.models, slices=config.slices)}
    for module in modules.values():
        if module.models:
            named = [*module.models]
            sources = [InputSliceDefinition(model=m.model, layer_range=(0, 4), parameters=m.parameters) for m in named]
            if config.base_model and config.base_model not in [m.model for m in named]:
                sources.append(InputSliceDefinition(model=config.base_model, layer_range=(0, 4)))
            yield module, OutputSliceDefinition(sources=sources)
        else:
            yield from ((module, each) for each in module.slices)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_means_what_mergekit_makes_of_it(path: Path) -> None:
    pytest.importorskip("mergekit")
    from mergekit import merge_methods
    from mergekit.config import ConfigReader, MergeConfiguration
    from mergekit.parameter_resolver import resolve_parameters

    config = MergeConfiguration.model_validate(yaml.safe_load(filled(path)))
    spec = merge_methods.get(config.merge_method).spec
    recipe = read(path)
    theirs = list(their_slices(config))
    assert len(theirs) == len(recipe.slices)
    for (module, slice_out), of in zip(theirs, recipe.slices, strict=True):
        reader = ConfigReader(config=config, slice_out=slice_out, t=0, module=module)
        models = [source.model for source in slice_out.sources]
        assert str(reader.base_model) == str(of.base or recipe.base)
        for tensor in TENSORS:
            for at in PLACES:
                shared, own = resolve_parameters(
                    spec,
                    tensor_name=tensor,
                    inputs=dict.fromkeys(models, tensor),
                    sources=reader.with_t(at).parameter_sources,
                    base_model=reader.base_model,
                    t=at,
                )
                each = {str(model): values for model, values in own.items()}
                assert_same(recipe, of, made(recipe, of, tensor, at), shared, each)


def assert_same(recipe: MergeRecipe, of: Slice, method: Any, shared: dict[str, Any], each: dict[str, Any]) -> None:
    parents = counted(recipe, of)
    for name in PARAMETERS[recipe.kind]:
        ours = getattr(method, OURS.get(name, name), None)
        if name == "int8_mask" or ours is None:
            continue  # of memory, or without a meaning for this method
        if fields_of(recipe.kind, recipe.style).is_of_each(OURS.get(name, name)):
            wanted = [each[parent.model][name] for parent in parents]
            plain = [1.0 if value is None else value for value in wanted]  # passthrough: no scale
            assert list(ours) * (len(parents) // len(ours)) == pytest.approx(plain, rel=1e-12), name
        elif isinstance(ours, str):
            assert ours == WORDS[name][shared[name]], name
        else:
            assert ours == pytest.approx(shared[name], rel=1e-12), name


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_in_our_form_merges_alike(path: Path) -> None:
    recipe = read(path)
    text = as_yaml(recipe)
    again = parse(text)
    assert as_yaml(again) == text
    assert (again.kind, again.style, again.base, again.dtype) == (recipe.kind, recipe.style, recipe.base, recipe.dtype)
    assert (again.tokenizer, again.chat_template) == (recipe.tokenizer, recipe.chat_template)
    assert list(again.modules) == list(recipe.modules)
    for ours, theirs in zip(again.slices, recipe.slices, strict=True):
        assert [(p.model, p.layers) for p in ours.parents] == [(p.model, p.layers) for p in theirs.parents]
        for tensor in TENSORS:
            for at in PLACES:
                assert made(again, ours, tensor, at) == made(recipe, theirs, tensor, at)


def test_the_examples_cover_every_method_of_mergekit() -> None:
    pytest.importorskip("mergekit")
    from mergekit.merge_methods.registry import registered_methods

    theirs = {method.spec.name.replace("_", "-"): method.spec for method in registered_methods()}
    assert {name: sorted(each) for name, each in PARAMETERS.items()} == {
        name: sorted(parameter.name for parameter in spec.parameters) for name, spec in theirs.items()
    }
    assert set(theirs) <= set(names("merges"))
    assert set(theirs) - {read(path).kind for path in EXAMPLES} == set()


@pytest.mark.parametrize("kind", sorted(PARAMETERS))
def test_every_parameter_of_mergekit_has_a_field_or_no_effect(kind: str) -> None:
    held = Fields.of(Place(kind, "test")).names
    of_no_effect = {"int8_mask"} | ({"density", "rescale"} if kind == "task-arithmetic" else set())
    assert {OURS.get(name, name) for name in PARAMETERS[kind]} - set(held) <= of_no_effect


@pytest.mark.parametrize("kind", names("merges"))
def test_no_setting_is_called_like_a_key_of_a_recipe(kind: str) -> None:
    from luthier.merging.recipes.own_yaml import MODEL, SLICE, TOP

    assert not set(Fields.of(Place(kind, "test")).names) & {*TOP, *SLICE, *MODEL, "kind", "style"}


def test_adapters_tokens_and_ends_are_read() -> None:
    recipe = read(Path(__file__).parent / "mergekit_examples" / "tokenizer_union.yaml")
    assert [parent.model for parent in recipe.slices[0].parents] == ["models/a+models/lora", "models/b+models/lora"]
    assert recipe.tokenizer.source == "union"
    assert recipe.tokenizer.pad_to_multiple_of == 8
    assert recipe.tokenizer.tokens == {
        "[CLS]": TokenSource("models/a+models/lora"),
        "[PAD]": TokenSource(is_zero=True, force=True),
        "[SEP]": TokenSource("models/b+models/lora", 3),
    }
    assert (recipe.chat_template, recipe.dtype) == ("chatml", "float32")


def test_what_has_no_meaning_here_is_told() -> None:
    recipe = read(Path(__file__).parent / "mergekit_examples" / "ties.yaml")
    assert any(note.startswith("int8_mask") for note in recipe.notes)
    assert any(note.startswith("dtype: float16") for note in recipe.notes)
    assert recipe.dtype == "float16"


def test_a_parameter_of_another_method_is_passed_over_and_told() -> None:
    recipe = parse(
        "merge_method: karcher\nmodels: [{model: a, parameters: {weight: 0.9}}, {model: b}]\nparameters: {density: 1}"
    )
    assert "weight" not in recipe.slices[0].parents[0].settings
    assert [note.split(":")[0] for note in recipe.notes] == ["density", "weight"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("merge_method: linear\nmodels:\n- model: a\n- {model: b, parameters: {weight: 1}}\n", r"f\.yaml:3: .*a has"),
        ("merge_method: linear\nmodels: [{model: a}]\nparametres: {weight: 1}\n", r"f\.yaml:3: .*mean parameters"),
        ("merge_method: ties\nmodels: [{model: a}]\nparameters: {weight: 1}\n", r"ties needs .*base_model"),
        ("merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\n", r"slerp needs t"),
        ("merge_method: linear\nmodels: [{model: a}]\nslices: [{sources: []}]\n", r"models and slices"),
        ("merge_method: linear\nmodels: []\n", r"none of them"),
        ("merge_method: linear\nparameters: {weihgt: 1}\nmodels: [{model: a}]\n", r"f\.yaml:2: .*did you mean weight"),
        ("merge_method: linear\nparameters: {weight: much}\nmodels: [{model: a}]\n", r'valid number, not "much"'),
        ("merge_method: linear\nparameters: {weight: [0, 1, x]}\nmodels: [{model: a}]\n", r"parameters\.weight\.2: "),
        ("merge_method: linear\nparameters: {weight: []}\nmodels: [{model: a}]\n", r"empty"),
        ("merge_method: linear\nparameters: {weight: [{filter: a}]}\nmodels: [{model: a}]\n", r"needs a value"),
        ("merge_method: linear\nmodels: [{model: a+b+c, parameters: {weight: 1}}]\n", r"more than one \+"),
        ("merge_method: linear\ndtype: fp32\nparameters: {weight: 1}\nmodels: [{model: a}]\n", r"fp32 is no type"),
        ("merge_method: linaer\nmodels: [{model: a}]\n", r"f\.yaml:1: .*did you mean linear"),
        ("merge_method: karcher\nparameters: {max_iter: [5, 10]}\nmodels: [{model: a}]", r"whole numbers"),
        ("merge_method: karcher\ntokenizer_source: base\ntokenizer: {}\nmodels: [{model: a}]", r"leave one of them"),
        (
            "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [4, 4]}]\n",
            r"f\.yaml:3: slices\.0\.sources\.0\.layer_range: .*no blocks",
        ),
        (
            "merge_method: linear\nslices:\n- sources:\n  - {model: a, layer_range: [0, 4]}\n"
            "  - {model: b, layer_range: [1, 4]}\n  parameters: {weight: 1}\n",
            r"f\.yaml:5: .*b gives 3 blocks and a 4",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(MergeError, match=told) as raised:
        parse(text, source="f.yaml")
    assert str(raised.value).startswith("f.yaml")
    assert "\n" not in str(raised.value)
