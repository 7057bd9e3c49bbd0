"""What every merge method does: the shape, the parts, the order, the seed, and what nothing was learnt in."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from luthier.component import find, names
from luthier.errors import MergeError
from luthier.merging.methods import Each, Merge
from luthier.merging.tensors import PART_ELEMENTS, merge_states
from tests.contracts.kinds import all_of, kind_of, make

SHAPES = {
    "layer.weight": (12, 8),
    "norm.weight": (8,),
    "scale": (),
    "conv.weight": (4, 3, 2),
    "row.weight": (1, 6),
    "column.weight": (6, 1),
    "frozen.weight": (7, 5),
    "one": (1,),
}
States = dict[str, Tensor]


def every() -> list[Merge]:
    """Every kind as it is, its variants, and each style it has."""
    styled = [
        find("merges", kind).model_validate({"style": style})
        for kind in names("merges")
        for style in find("merges", kind).styles  # type: ignore[attr-defined]
    ]
    return [*all_of("merges"), *styled]  # type: ignore[list-item]


EVERY = every()
every_merge = pytest.mark.parametrize("merge", EVERY, ids=kind_of)
every_kind = pytest.mark.parametrize("merge", [make("merges", kind) for kind in names("merges")], ids=kind_of)
with_a_base = pytest.mark.parametrize("merge", [each for each in EVERY if each.needs_base != "no"], ids=kind_of)


BESIDE_A_BASE = {"slerp": 1}
"""Models of kinds that take fewer beside a base than without one."""


def num_of(merge: Merge) -> int:
    """As many models as it takes, up to three."""
    return min(3, BESIDE_A_BASE.get(merge.kind(), merge.num_models[1] or 3))


def states(num: int, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[States, list[States]]:
    """A base, and what became of it: other numbers everywhere but in one tensor."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(by: float) -> States:
        return {
            name: by * torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in SHAPES.items()
        }

    base = drawn(1.0)
    changes = [drawn(0.1) for _ in range(num)]
    for change in changes:
        change["frozen.weight"].zero_()
    models = [{name: (base[name] + change[name]).to(dtype) for name in SHAPES} for change in changes]
    return {name: tensor.to(dtype) for name, tensor in base.items()}, models


def companions(merge: Merge, num: int) -> list[States]:
    """Statistics as they would have been gathered, of the tensors that have some."""
    generator = torch.Generator().manual_seed(1)
    if merge.statistics == "weights":
        return [{name: torch.rand(shape, generator=generator) for name, shape in SHAPES.items()} for _ in range(num)]
    if merge.statistics == "inputs":
        inputs = [torch.randn(50, 8, generator=generator) for _ in range(num)]
        return [{"layer.weight": each.T @ each} for each in inputs]
    return []


def merged(
    merge: Merge, models: Sequence[States], base: States, *, part_elements: int = PART_ELEMENTS, **more: Any
) -> States:
    given = {"companions": companions(merge, len(models)), **more}
    return merge_states(
        models, merge, base=None if merge.needs_base == "no" else base, part_elements=part_elements, **given
    )


def assert_alike(found: States, expected: States) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-6)


@every_merge
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_merged_tensor_has_the_shape_the_type_and_finite_numbers(merge: Merge, dtype: torch.dtype) -> None:
    base, models = states(num_of(merge), dtype=dtype)
    found = merged(merge, models, base)
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == SHAPES
    assert {tensor.dtype for tensor in found.values()} == {dtype}
    assert all(tensor.isfinite().all() for tensor in found.values())


@every_merge
@pytest.mark.parametrize("part_elements", [1, 20, 60])
def test_parts_do_not_change_the_result(merge: Merge, part_elements: int) -> None:
    base, models = states(num_of(merge))
    assert_alike(merged(merge, models, base, part_elements=part_elements), merged(merge, models, base))


@every_merge
def test_what_is_merged_stays_as_it_is(merge: Merge) -> None:
    base, models = states(num_of(merge))
    merged(merge, models, base)
    merged(merge, models, base, part_elements=20)
    before = states(num_of(merge))
    for found, expected in zip([base, *models], [before[0], *before[1]], strict=True):
        assert all(torch.equal(found[name], expected[name]) for name in SHAPES)


@every_merge
def test_a_merged_tensor_is_no_models_own(merge: Merge) -> None:
    base, models = states(num_of(merge))
    for tensor in merged(merge, models, base).values():
        tensor.add_(1)
    before = states(num_of(merge))
    for found, expected in zip([base, *models], [before[0], *before[1]], strict=True):
        assert all(torch.equal(found[name], expected[name]) for name in SHAPES)


@every_merge
def test_the_same_seed_gives_the_same_result_to_the_bit(merge: Merge) -> None:
    base, models = states(num_of(merge))
    first, second = merged(merge, models, base), merged(merge, models, base)
    assert all(torch.equal(first[name], second[name]) for name in SHAPES)


@every_merge
def test_the_order_of_names_is_irrelevant(merge: Merge) -> None:
    base, models = states(num_of(merge))
    turned = [dict(reversed(model.items())) for model in models]
    first, second = merged(merge, models, base), merged(merge, turned, base)
    assert all(torch.equal(first[name], second[name]) for name in SHAPES)


@every_merge
def test_the_order_of_models_is_irrelevant_where_they_weigh_the_same(merge: Merge) -> None:
    base, models = states(num_of(merge))
    labels = [f"model-{number}" for number in range(len(models))]
    gathered = companions(merge, len(models))
    first = merged(merge, models, base, labels=labels)
    second = merged(merge, models[::-1], base, labels=labels[::-1], companions=gathered[::-1])
    assert_alike(second, first)


@every_merge
def test_rows_that_do_not_lie_beside_each_other_are_the_same_rows(merge: Merge) -> None:
    base, models = states(num_of(merge))

    def turned(model: States) -> States:
        return {name: tensor.mT.contiguous().mT if tensor.dim() > 1 else tensor for name, tensor in model.items()}

    assert_alike(merged(merge, [turned(model) for model in models], turned(base)), merged(merge, models, base))


@every_merge
def test_models_that_are_the_base_everywhere_give_the_base(merge: Merge) -> None:
    base, _ = states(0)
    assert_alike(merged(merge, [base] * num_of(merge), base), base)
    assert_alike(merged(merge, [base] * num_of(merge), base, part_elements=20), base)


@with_a_base
def test_a_tensor_in_which_nothing_was_learnt_stays_to_the_bit(merge: Merge) -> None:
    base, models = states(num_of(merge))
    assert torch.equal(merged(merge, models, base)["frozen.weight"], base["frozen.weight"])


@every_kind
def test_settings_of_each_model_with_a_wrong_count_are_refused(merge: Merge) -> None:
    base, models = states(num_of(merge))
    each = [name for name, field in type(merge).model_fields.items() if field.annotation == Each]
    for setting in each:
        wrong = merge.model_copy(update={setting: getattr(merge, setting) * (len(models) + 1)})
        with pytest.raises(MergeError, match=f"{merge.kind()}: {setting} has {len(models) + 1} numbers"):
            merged(wrong, models, base)


@every_kind
def test_a_number_for_each_model_is_one_number_for_all(merge: Merge) -> None:
    base, models = states(num_of(merge))
    each = [name for name, field in type(merge).model_fields.items() if field.annotation == Each]
    said = merge.model_copy(update={setting: getattr(merge, setting) * len(models) for setting in each})
    first, second = merged(merge, models, base), merged(said, models, base)
    assert all(torch.equal(first[name], second[name]) for name in SHAPES)


@every_kind
def test_too_few_models_too_many_and_a_missing_base_are_refused_by_name(merge: Merge) -> None:
    least, most = merge.num_models
    base, models = states((most or 3) + 1)
    wrong = [*([least - 1] if least > 1 else []), *([most + 1] if most else [])]
    for num in wrong:
        with pytest.raises(MergeError, match=f"{merge.kind()} merges"):
            merged(merge, models[:num], base)
    if merge.needs_base == "yes":
        with pytest.raises(MergeError, match=f"{merge.kind()} needs a base"):
            merge_states(models[: num_of(merge)], merge)


@every_kind
def test_a_style_it_does_not_have_is_refused_and_papers_is_the_default(merge: Merge) -> None:
    assert type(merge).model_validate({"style": "paper"}) == merge
    for style in {"mergekit", "peft"} - merge.styles.keys():
        with pytest.raises(ValueError, match=f"{merge.kind()} has no style {style}"):
            type(merge).model_validate({"style": style})


@every_kind
def test_a_style_stands_for_settings_that_it_has_and_that_can_still_be_said(merge: Merge) -> None:
    for style, stands_for in merge.styles.items():
        styled = type(merge).model_validate({"style": style})
        assert styled == type(merge).model_validate({"style": style, **stands_for})
        for setting in stands_for:
            usual = getattr(merge, setting)
            assert getattr(type(merge).model_validate({"style": style, setting: usual}), setting) == usual
