"""Our own form of a merge's recipe: what it says, what it may not say, and that it is read back as it was written."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import MergeError, RecipeError
from luthier.merging.recipes.reading import from_options, parse, read
from luthier.merging.recipes.recipe import MergeRecipe, Parent, Slice, TokenizerChoice, as_yaml
from luthier.merging.recipes.settings import Conditional, Setting, before, value_of


def value(setting: Setting, tensor: str = "layers.0.mlp.weight", at: float = 0.0) -> Any:
    words = {"attention": "attn", "feed-forward": "mlp", "blocks.0": "layers.0."}
    return value_of(setting, tensor=tensor, at=at, selects=lambda selector, name: words[selector] in name)


def test_the_shortest_recipe_is_two_lines() -> None:
    recipe = parse("merge: linear\nmodels: [a, b]\n")
    assert (recipe.kind, recipe.style, recipe.base, recipe.dtype) == ("linear", "paper", None, None)
    assert recipe.modules == {"": (Slice((Parent("a"), Parent("b"))),)}
    assert recipe.models == ("a", "b")


def test_weights_stand_beside_models_in_three_ways() -> None:
    wanted = (Parent("a", None, {"weight": 0.6}), Parent("b", None, {"weight": 0.4}))
    for models in (
        "{a: 0.6, b: 0.4}",
        "[{model: a, weight: 0.6}, {model: b, weight: 0.4}]",
        "{a: {weight: 0.6}, b: 0.4}",
    ):
        assert parse(f"merge: linear\nmodels: {models}\n").slices[0].parents == wanted


def test_a_setting_may_stand_under_the_kind_or_at_the_top() -> None:
    beside = parse("merge: {kind: ties, density: 0.3, style: mergekit}\nbase: c\nmodels: [a, b]\n")
    assert beside.settings == {"density": 0.3}
    assert beside.style == "mergekit"
    assert parse("merge: ties\ndensity: 0.3\nbase: c\nmodels: [a, b]\n").settings == beside.settings
    with pytest.raises(MergeError, match=r"m:2: density: stands under merge too"):
        parse("merge: {kind: ties, density: 0.3}\ndensity: 0.3\nbase: c\nmodels: [a, b]\n", source="m")


def test_under_selectors_the_last_that_fits_counts() -> None:
    recipe = parse("merge: linear\nmodels: [a, b]\nweight: {all: 0.1, feed-forward: 0.6, blocks.0: 0.9}\n")
    weight = recipe.settings["weight"]
    assert value(weight, "layers.0.mlp.weight") == 0.9
    assert value(weight, "layers.1.mlp.weight") == 0.6
    assert value(weight, "layers.1.attn.weight") == 0.1


def test_an_expression_needs_no_model() -> None:
    weight = parse("merge: linear\nmodels: [a, b]\nweight: {'re:mlp|attn': 0.6}\n").settings["weight"]
    assert value(weight, "layers.0.mlp.weight") == 0.6
    assert value(weight, "norm.weight") is None
    with pytest.raises(MergeError, match=r"weight.*is not a regular expression"):
        parse("merge: linear\nmodels: [a, b]\nweight: {'re:(': 0.6}\n")


def test_a_gradient_goes_straight_from_number_to_number() -> None:
    gradient = (0.0, 1.0, 0.5)
    assert [value(gradient, at=at) for at in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0.0, 0.5, 1.0, 0.75, 0.5]
    assert value((0.3,), at=0.7) == 0.3
    assert [value((True, False), at=at) for at in (0.0, 0.99, 1.0)] == [True, True, False]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.floats(0, 1))
def test_a_gradient_stays_between_its_ends(numbers: list[float], at: float) -> None:
    found = value(tuple(numbers), at=at)
    assert min(numbers) - 1e-9 <= found <= max(numbers) + 1e-9
    assert value(tuple(numbers), at=1.0) == numbers[-1]


def test_what_one_level_leaves_open_the_next_one_says() -> None:
    joined = before((Conditional(0.1, "attention"),), 0.7)
    assert value(joined, "layers.0.attn.weight") == 0.1
    assert value(joined, "layers.0.mlp.weight") == 0.7
    assert before(0.3, 0.7) == 0.3


def test_slices_stack_blocks_in_a_long_and_a_short_form() -> None:
    short = parse("merge: passthrough\nslices: [{model: a, layers: [0, 3]}, {model: b, layers: [1, 4], scale: 0.5}]\n")
    long = parse(
        "merge: passthrough\nslices:\n- models: [{model: a, layers: [0, 3]}]\n"
        "- models: {b: {layers: [1, 4], scale: 0.5}}\n"
    )
    assert short.modules == long.modules
    assert short.slices[1].parents == (Parent("b", (1, 4), {"scale": 0.5}),)


def test_settings_of_a_module_are_those_of_its_slices() -> None:
    recipe = parse(
        "merge: slerp\nmodules:\n  text:\n    t: 0.3\n    slices:\n    - {t: {attention: 0.9}, models: [a, b]}\n"
        "  vision: {models: [a, b]}\n"
    )
    assert list(recipe.modules) == ["text", "vision"]
    t = recipe.modules["text"][0].settings["t"]
    assert (value(t, "attn"), value(t, "mlp")) == (0.9, 0.3)
    assert not recipe.modules["vision"][0].settings


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("merge: tise\nmodels: [a]\n", r"m:1: merge: no merge is called tise; did you mean ties\?"),
        ("merge: linear\nmodelz: [a]\n", r"m:2: modelz: .*did you mean models\?"),
        ("merge: linear\n", r"m: a merge has exactly one of models, slices and modules; this one has none of them"),
        ("merge: linear\nmodels: [a]\nslices: [a]\n", r"this one has models and slices"),
        ("merge: linear\nmodels: [a, b, a]\n", r"m:2: models\.2: a is named twice"),
        ("merge: linear\nmodels: {a: 1, b: }\n", r"m:2: models\.b: b has no weight, a has"),
        ("merge: linear\nmodels: [a, {weight: 1}]\n", r"models\.1: does not say its model"),
        ("merge: linear\nmodels: [a, b]\nweight: [0.6, 0.4]\n", r"m:3: weight: .*one number for each model"),
        ("merge: linear\nmodels: [a, b]\ndensity: 0.4\n", r"density: unknown in a merge by linear"),
        ("merge: linear\nmodels: [a, b]\nnormalize: maybe\n", r'normalize: should be a valid boolean, not "maybe"'),
        ("merge: linear\nmodels: [a, b]\nweight: .nan\n", r"weight: should be a finite number"),
        ("merge: linear\nmodels: [a, b]\nweight: null\n", r"weight: is a value"),
        ("merge: linear\nmodels: [a, b]\nweight: {}\n", r"weight: says nothing"),
        ("merge: linear\nmodels: [a, b]\ndtype: bflaot16\n", r"dtype: .*did you mean bfloat16\?"),
        ("merge: linear\nbase_model: a\nmodels: [a, b]\n", r"base_model: is mergekit's name; here it is base"),
        ("merge: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n", r"parameters: is mergekit's"),
        ("merge: linear\nmodels: [{model: a, normalize: true}]\n", r"normalize: is of the whole merge"),
        ("merge: ties\nbase: c\nmodels: [a, b]\ndensity: 20\n", r"density: is a share, from 0 to 1, not 20"),
        ("merge: ties\nbase: c\nmodels: {a: {density: [0.3, 1.7]}}\n", r"a\.density\.1: is a share"),
        ("merge: ties\nmodels: [a, b]\n", r"ties needs the model that the others began as; say base: "),
        ("merge: {kind: ties, style: theirs}\nbase: c\nmodels: [a]\n", r"ties has no style theirs; known: paper, "),
        ("merge: slerp\nmodels: [a, b, c]\n", r"slerp takes 1 to 2 models, not 3"),
        ("merge: slerp\nmodels: {a: 0.5, b: 0.5}\n", r"models\.a: slerp has no weights"),
        ("merge: passthrough\nslices: [{models: [{model: a, layers: [3, 1]}]}]\n", r"layers: from 3 to 1"),
        ("merge: linear\nslices: [{models: [{model: a, layers: [0, 2]}, b]}]\n", r"a gives some blocks and b all"),
        ("merge: [linear]\nmodels: [a]\n", r"merge: a kind of merge is text"),
        ("merge: linear\nmerge_method: linear\nmodels: [a]\n", r"say one of them"),
        ("merje: linear\nmodels: [a]\n", r"neither merge nor merge_method; did you mean merge\?"),
        ("- merge\n", r"the recipe of a merge is a mapping"),
        ("", r"the recipe of a merge is a mapping .*, not null"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(MergeError, match=told) as raised:
        parse(text, source="m")
    assert "\n" not in str(raised.value)


def test_an_alias_is_refused_and_a_lost_file_told(tmp_path: Any) -> None:
    with pytest.raises(RecipeError, match="anchor"):
        parse("merge: linear\nmodels: &a [a, b]\n")
    with pytest.raises(MergeError, match="no such recipe"):
        read(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(MergeError, match="UTF-8"):
        read(tmp_path / "bytes.yaml")


def test_the_command_line_says_the_same_as_a_file() -> None:
    line = from_options("ties", ["a", "b"], base="c", weight=["0.6", "0.4"], density=["0.3"], dtype="bfloat16")
    text = "merge: ties\nbase: c\nmodels: {a: 0.6, b: 0.4}\ndensity: 0.3\ndtype: bfloat16\n"
    assert as_yaml(line) == as_yaml(parse(text))
    gradient = from_options("linear", ["a", "b"], weight=["0.1,0.9", "0.5"])
    assert [parent.settings["weight"] for parent in gradient.slices[0].parents] == [(0.1, 0.9), 0.5]
    assert from_options("linear", ["a", "b"], normalize="false").settings == {"normalize": False}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"weight": ["1", "2", "3"]}, r"--weight: said 3 times for 2 models"),
        ({"normalize": ["true", "false"]}, r"--normalize: said 2 times; it is one"),
        ({"wieght": ["1"]}, r"--wieght: no setting of linear; did you mean weight\?"),
        ({"weight": ["much"]}, r'--weight: should be a valid number, not "much"'),
        ({"dtype": "int8"}, r"--dtype: the type of the weights is float32, bfloat16, float16"),
    ],
)
def test_a_mistake_of_the_line_is_told_by_its_option(options: Any, told: str) -> None:
    with pytest.raises(MergeError, match=told):
        from_options("linear", ["a", "b"], **options)
    with pytest.raises(MergeError, match="no models"):
        from_options("linear", [])


def test_what_is_written_holds_every_default_and_reads_back() -> None:
    recipe = MergeRecipe(
        kind="ties",
        style="mergekit",
        base="c",
        modules={"": (Slice((Parent("a", (0, 2), {"weight": (0.1, 0.5)}), Parent("b", (2, 4), {"weight": 1.0}))),)},
        settings={"density": (Conditional((0.2, 0.4), "attention"), Conditional(0.5, ".mlp.", True), Conditional(0.9))},
        tokenizer=TokenizerChoice("union", {}, 64),
        output="merged",
    )
    text = as_yaml(recipe)
    again = parse(text)
    assert as_yaml(again) == text
    assert again.settings["trim"] == "tensor"
    assert again.slices[0].parents == recipe.slices[0].parents
    assert (again.tokenizer, again.output) == (recipe.tokenizer, "merged")
    for tensor in ("x.attn.w", "x.mlp.w", "xymlpzw", "norm"):
        assert value(again.settings["density"], tensor, 0.5) == value(recipe.settings["density"], tensor, 0.5)


SOME = (
    "merge merge_method kind style base base_model models model slices sources layers layer_range modules parameters "
    "weight density t scale normalize filter value dtype out_dtype tokenizer tokenizer_source tokens source force "
    "chat_template output lora path all attention re:( <<"
)
KEYS = st.sampled_from(SOME.split())
WORDS = st.sampled_from(
    ["linear", "ties", "slerp", "passthrough", "a", "b", "a+b", "union", "float32", "", "model_token"]
)
LEAVES = st.one_of(
    WORDS, st.none(), st.booleans(), st.integers(-3, 10**320), st.floats(), st.text(max_size=5), st.just([0, 4])
)
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(KEYS, st.text(max_size=3)), inner)),
    max_leaves=15,
)
FORMS = st.sampled_from(
    [
        {"merge": "linear", "models": ["a", "b"]},
        {"merge": {"kind": "ties"}, "base": "c", "models": {"a": 1, "b": 2}},
        {"merge_method": "ties", "base_model": "c", "models": [{"model": "a", "parameters": {"weight": 1}}]},
        {"merge_method": "slerp", "base_model": "a", "slices": [{"sources": [{"model": "a", "layer_range": [0, 4]}]}]},
    ]
)


@settings(max_examples=200, deadline=None)
@given(FORMS, st.dictionaries(KEYS, JUNK, max_size=3))
def test_junk_in_a_recipe_is_told_and_what_is_read_is_written(form: dict[str, Any], junk: dict[str, Any]) -> None:
    text = json.dumps({**form, **junk}).replace("NaN", ".nan").replace("Infinity", ".inf")
    with suppress(MergeError, RecipeError):
        recipe = parse(text)
        written = as_yaml(recipe)
        again = None
        with suppress(MergeError, RecipeError):
            again = parse(written)
        assert again is not None, written
        assert as_yaml(again) == written


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet="merge: {}[]-\n\t&*!<>|'\"#ab1.,", max_size=60)))
def test_any_text_is_a_recipe_or_a_mistake(text: str) -> None:
    for before_it in ("", "merge: linear\n", "merge_method: linear\n"):
        with suppress(MergeError, RecipeError):
            assert isinstance(parse(before_it + text), MergeRecipe)


def test_no_number_of_a_setting_is_without_end() -> None:
    for text in ("1e999", str(10**400), "-.inf"):
        with pytest.raises(MergeError):
            parse(f"merge: linear\nmodels: [a, b]\nweight: {text}\n")


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    for call in (
        lambda: parse("merge: linear\nmodels: [a, 'https://me:hidden@hub/b']\n"),
        lambda: from_options("linear", ["a", "https://me:hidden@hub/b"]),
    ):
        with pytest.raises(MergeError, match="holds a password") as raised:
            call()
        assert "hidden" not in str(raised.value)
