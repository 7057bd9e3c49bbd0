"""Which tensors of which models become which, and every way in which models do not fit together."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.parents.checkpoint import States
from luthier.merging.parents.opened import Opened, open_models
from luthier.merging.plan import Plan, Planner
from luthier.merging.recipes.recipe import MergeRecipe, Parent, Slice
from luthier.merging.recipes.settings import Conditional

CONFIG = {"num_hidden_layers": 3}


def weights(seed: int, *, num_blocks: int = 3, prefix: str = "", **more: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    names = ["embed.weight"]
    names += [f"layers.{n}.{part}.weight" for n in range(num_blocks) for part in ("attn", "mlp")]
    made = {f"{prefix}{name}": torch.randn(4, 3, generator=generator) for name in [*names, "norm.weight"]}
    return {**made, **more}


def opened(**models: Mapping[str, Tensor]) -> dict[str, Opened]:
    return {name: Opened(name, Path(name), States(states, name, CONFIG)) for name, states in models.items()}


def recipe(*parents: Parent | str, kind: str = "linear", base: str | None = None, **more: Any) -> MergeRecipe:
    listed = tuple(Parent(each) if isinstance(each, str) else each for each in parents)
    return MergeRecipe(kind=kind, style="paper", base=base, modules={"": (Slice(listed),)}, **more)


def planned(made: MergeRecipe, models: dict[str, Opened]) -> Plan:
    return Planner(made, models).plan()


def by_name(plan: Plan) -> dict[str, Any]:
    return {output.name: output for output in plan.outputs}


def test_every_tensor_is_merged_of_those_of_its_name() -> None:
    models = opened(a=weights(0), b=weights(1))
    outputs = by_name(planned(recipe("a", "b"), models))
    assert outputs.keys() == weights(0).keys()
    assert all([source.name for source in each.models] == [each.name] * 2 for each in outputs.values())


def test_settings_of_a_model_go_before_those_of_all_and_gradients_go_over_blocks() -> None:
    models = opened(a=weights(0), b=weights(1))
    parents = (Parent("a", None, {"weight": (0.0, 1.0)}), Parent("b"))
    outputs = by_name(planned(recipe(*parents, settings={"weight": 0.25}), models))
    assert [outputs[f"layers.{n}.attn.weight"].method.weight for n in range(3)] == [(0, 0.25), (0.5, 0.25), (1, 0.25)]
    assert outputs["embed.weight"].method.weight == (0, 0.25)


def test_conditions_choose_by_name() -> None:
    models = opened(a=weights(0), b=weights(1))
    filtered = (Conditional(0.9, "attn", is_part_of_name=True), Conditional(0.1))
    outputs = by_name(planned(recipe("a", "b", settings={"weight": filtered}), models))
    assert outputs["layers.1.attn.weight"].method.weight == (0.9, 0.9)
    assert outputs["layers.1.mlp.weight"].method.weight == (0.1, 0.1)


def test_a_setting_that_one_model_lacks_is_told_with_the_model() -> None:
    models = opened(a=weights(0), b=weights(1))
    with pytest.raises(MergeError, match=r"b has no weight for embed.weight"):
        planned(recipe(Parent("a", None, {"weight": 0.5}), "b"), models)


def test_stacked_slices_take_their_blocks_in_order_and_ends_from_first_and_last() -> None:
    models = opened(a=weights(0), b=weights(1))
    slices = (Slice((Parent("a", (0, 2)),)), Slice((Parent("b", (1, 3)),)))
    made = replace(recipe("a", kind="passthrough"), modules={"": slices})
    plan = planned(made, models)
    outputs = by_name(plan)
    assert plan.stacked == {"layers.": [0, 1, 1, 2]}
    found = {name: (each.models[0].checkpoint.label, each.models[0].name) for name, each in outputs.items()}
    assert found["embed.weight"] == ("a", "embed.weight")
    assert found["norm.weight"] == ("b", "norm.weight")
    assert found["layers.1.attn.weight"] == ("a", "layers.1.attn.weight")
    assert found["layers.2.attn.weight"] == ("b", "layers.1.attn.weight")
    assert found["layers.3.mlp.weight"] == ("b", "layers.2.mlp.weight")


def test_a_body_and_one_under_a_head_are_merged_and_the_heads_left_out_with_a_word() -> None:
    head = {"classifier.weight": torch.zeros(2, 3)}
    models = opened(base=weights(0), a=weights(1, prefix="bert.") | head, b=weights(2, prefix="bert.") | head)
    plan = planned(recipe("a", "b", kind="ties", base="base"), models)
    outputs = by_name(plan)
    assert outputs.keys() == weights(0).keys()
    assert outputs["embed.weight"].models[0].checkpoint.read("embed.weight").equal(weights(1)["embed.weight"])
    assert any("classifier.weight" in note for note in plan.notes)


def test_another_architecture_is_refused_by_the_name_of_what_it_lacks() -> None:
    models = opened(a=weights(0), b=weights(1, num_blocks=2))
    with pytest.raises(MergeError, match=r"b: has no layers\.2\.attn\.weight, nor 1 more"):
        planned(recipe("a", "b"), models)


def test_another_shape_is_refused_with_both() -> None:
    models = opened(a=weights(0), b=weights(1) | {"norm.weight": torch.zeros(5)})
    with pytest.raises(MergeError, match=r"norm.weight: is 5 in b and 4 x 3 in a"):
        planned(recipe("a", "b"), models)


def test_whole_numbers_are_copied_where_equal_and_refused_where_not() -> None:
    positions = {"positions": torch.arange(4)}
    models = opened(a=weights(0) | positions, b=weights(1) | positions)
    assert by_name(planned(recipe("a", "b"), models))["positions"].method is None
    models = opened(a=weights(0) | positions, b=weights(1) | {"positions": torch.arange(4) + 1})
    with pytest.raises(MergeError, match=r"positions: holds whole numbers that differ"):
        planned(recipe("a", "b"), models)


def test_a_base_is_asked_for_where_a_method_needs_one() -> None:
    models = opened(a=weights(0), b=weights(1))
    with pytest.raises(MergeError, match=r"ties needs a base"):
        planned(recipe("a", "b", kind="ties"), models)


def test_a_method_says_how_many_models_it_merges() -> None:
    models = opened(a=weights(0), b=weights(1), c=weights(2))
    with pytest.raises(MergeError, match=r"slerp merges .* models"):
        planned(recipe("a", "b", "c", kind="slerp", settings={"t": 0.5}), models)


def test_a_base_listed_among_the_models_counts_once() -> None:
    models = opened(base=weights(0), a=weights(1))
    outputs = by_name(planned(recipe("base", "a", kind="task-arithmetic", base="base"), models))
    assert [source.checkpoint.label for source in outputs["embed.weight"].models] == ["a"]


def test_whole_numbers_in_the_place_of_weights_are_refused() -> None:
    models = opened(a=weights(0), b=weights(1) | {"layers.0.mlp.weight": torch.ones(4, 3, dtype=torch.int8)})
    with pytest.raises(MergeError, match=r"layers.0.mlp.weight holds torch.int8.*quantised"):
        planned(recipe("a", "b"), models)


def test_a_head_that_the_base_alone_has_stays_as_it_is() -> None:
    models = opened(base=weights(0) | {"cls.weight": torch.ones(2, 3)}, a=weights(1), b=weights(2))
    plan = planned(recipe("a", "b", kind="ties", base="base"), models)
    kept = by_name(plan)["cls.weight"]
    assert kept.method is None
    assert kept.models[0].checkpoint.read("cls.weight").equal(torch.ones(2, 3))
    assert any("cls.weight" in note for note in plan.notes)


def test_norms_of_old_files_are_called_as_today() -> None:
    old = {name.replace("norm.weight", "LayerNorm.gamma"): each for name, each in weights(0).items()}
    with TemporaryDirectory() as name:
        save_file(old, Path(name) / "model.safetensors")
        (found,) = open_models([name]).values()
    assert "LayerNorm.weight" in found.checkpoint.specs
