"""Methods that make one sum of the models, with coefficients for the whole or for rows: as mergekit makes it."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luthier.errors import MergeError
from luthier.merging.methods._span import gram, models_alone
from luthier.merging.parents.checkpoint import States
from luthier.merging.tensors import Source, Streamed
from tests.merging.methods.merged import FEW, SHAPES, assert_near, ours, random, theirs

WEIGHTS = {"weight": [0.3, 0.5, 0.4]}
CASES: list[tuple[str, int, bool, dict[str, Any]]] = [
    ("linear", 3, False, WEIGHTS),
    ("linear", 3, False, {**WEIGHTS, "normalize": False}),
    ("slerp", 1, True, {"style": "mergekit", "t": 0.3}),
    ("nuslerp", 2, True, {"weight": [0.3, 0.5]}),
    ("nuslerp", 2, False, {"weight": [0.3, 0.5]}),
    ("nuslerp", 2, False, {"weight": [0.0, 0.0]}),
    ("nuslerp", 2, True, {"weight": [0.3, 0.5], "nuslerp_flatten": False}),
    ("nuslerp", 2, False, {"weight": [0.3, 0.5], "nuslerp_flatten": False}),
    ("nuslerp", 2, True, {"weight": [0.3, 0.5], "nuslerp_flatten": False, "nuslerp_row_wise": True}),
    ("nuslerp", 2, False, {"weight": [0.3, 0.5], "nuslerp_flatten": False, "nuslerp_row_wise": True}),
    ("multislerp", 3, True, WEIGHTS),
    ("multislerp", 3, False, WEIGHTS),
    ("multislerp", 3, False, {**WEIGHTS, "normalize_weights": False}),
    ("karcher", 3, False, {}),
    ("karcher", 2, False, {"max_iter": 1}),
    ("task-arithmetic", 3, True, {"weight": [0.3, -0.5, 0.4], "scale": 1.5}),
    ("task-arithmetic", 3, True, {**WEIGHTS, "normalize": True}),
    ("model-stock", 2, True, {"style": "mergekit"}),
    ("model-stock", 4, True, {"style": "mergekit"}),
    ("passthrough", 1, False, {"scale": [0.7]}),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "num", "has_base", "settings"), CASES, ids=str)
def test_it_is_what_mergekit_makes_whatever_the_parts(
    kind: str, num: int, has_base: bool, settings: dict[str, Any], shape: tuple[int, ...]
) -> None:
    base, models = random(shape, num, by=0.3)
    given = (models, base if has_base else None)
    # mergekit's settings of each model need as many numbers; ours take one for all
    expected = theirs(kind, *given, **settings)
    assert_near(ours(kind, *given, **settings), expected)
    assert_near(ours(kind, *given, **settings, part_elements=FEW), expected)


@pytest.mark.parametrize("shape", [(64, 48), (100,)], ids=str)
def test_model_stock_filter_by_filter_is_mergekits(shape: tuple[int, ...]) -> None:
    base, models = random(shape, 3)
    expected = theirs("model-stock", models, base, filter_wise=True)
    for part_elements in (FEW, 10**6):
        found = ours("model-stock", models, base, style="mergekit", filter_wise=True, part_elements=part_elements)
        assert_near(found, expected)


def test_model_stock_of_a_convolution_has_an_angle_for_each_output() -> None:
    base, models = random((6, 5, 4), 3)
    flat = ours("model-stock", [model.reshape(6, 20) for model in models], base.reshape(6, 20), filter_wise=True)
    assert_near(ours("model-stock", models, base, filter_wise=True), flat.reshape(6, 5, 4))


def test_slerp_of_two_models_is_that_of_a_base_and_a_model() -> None:
    base, (model,) = random((64, 48), 1, by=1.0)
    assert torch.equal(ours("slerp", [base, model], t=0.3), ours("slerp", [model], base, t=0.3))


def test_slerp_of_three_is_refused() -> None:
    base, models = random((4, 3), 2)
    with pytest.raises(MergeError, match="slerp merges a base and one model, or two models; not"):
        ours("slerp", models, base)


def test_slerp_keeps_to_the_arc_where_mergekit_takes_the_straight_line() -> None:
    base = torch.tensor([1.0, 0.0])
    near = torch.tensor([0.03, 1.0]).roll(1) / torch.tensor([0.03, 1.0]).norm()
    assert ours("slerp", [near], base, t=0.5).norm().item() == pytest.approx(1, abs=1e-7)
    assert ours("slerp", [near], base, t=0.5, style="mergekit").norm().item() < 1 - 1e-4


def test_rows_of_one_number_go_along_the_straight_line() -> None:
    """mergekit's normalised numbers are not quite 1, and between opposite ones its coefficients are in the hundreds."""
    base, models = random((7, 1), 2, by=1.0)
    found = ours("nuslerp", models, base, nuslerp_flatten=False)
    assert_near(found, (models[0] + models[1]) / 2)


@pytest.mark.parametrize("kind", ["slerp", "nuslerp", "multislerp", "karcher"])
def test_between_two_opposites_it_goes_along_the_straight_line(kind: str) -> None:
    _, (model,) = random((8, 5), 1)
    found = ours(kind, [model, -3 * model])
    assert_near(found, -model)


@pytest.mark.parametrize("kind", ["multislerp", "karcher"])
def test_directions_that_cancel_each_other_out_are_refused_by_name(kind: str) -> None:
    around = torch.tensor([0.0, 2 * torch.pi / 3, 4 * torch.pi / 3], dtype=torch.float64)
    models = list(torch.stack([around.cos(), around.sin()], dim=1))
    with pytest.raises(MergeError, match=f"{kind}: tensor: .* cancel each other out"):
        ours(kind, models)


def test_karcher_lies_where_the_angles_pull_evenly() -> None:
    """The sum of log_m(u) is 0 at the mean; asked of three directions that are anything but even."""
    generator = torch.Generator().manual_seed(3)
    models = [torch.randn(5, generator=generator, dtype=torch.float64).abs() for _ in range(3)]
    mean = torch.nn.functional.normalize(ours("karcher", models, weight=[1, 2, 3], max_iter=50, tol=1e-9), dim=0)
    pulls = []
    for model, weight in zip(models, (1, 2, 3), strict=True):
        unit = torch.nn.functional.normalize(model, dim=0)
        towards = mean @ unit
        pulls.append(weight * torch.acos(towards) / torch.sqrt(1 - towards**2) * (unit - towards * mean))
    assert sum(pulls).norm().item() < 1e-7  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["slerp", "nuslerp", "multislerp", "karcher"])
@pytest.mark.parametrize("part_elements", [FEW, 10**6])
def test_a_zero_tensor_gives_finite_numbers_and_zeros_give_zeros(kind: str, part_elements: int) -> None:
    _, (model,) = random((64, 48), 1)
    zero = torch.zeros(64, 48)
    assert not ours(kind, [zero, zero], part_elements=part_elements).any()
    found = ours(kind, [model, zero], part_elements=part_elements)
    assert found.isfinite().all()
    assert_near(torch.nn.functional.normalize(found, dim=None), torch.nn.functional.normalize(model, dim=None))


@pytest.mark.parametrize("kind", ["slerp", "nuslerp", "multislerp", "karcher", "model-stock"])
def test_numbers_that_are_not_finite_are_refused_by_name(kind: str) -> None:
    base, (model, broken) = random((8, 5), 2)
    broken[3, 2] = torch.inf
    models = [broken] if kind == "slerp" else [model, broken]
    with pytest.raises(MergeError, match="tensor: holds numbers that are not finite"):
        ours(kind, models, None if kind == "karcher" else base)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("linear", {}),
        ("multislerp", {}),
        ("karcher", {}),
        ("task-arithmetic", {"normalize": True}),
        ("wise-ft", {}),
    ],
)
def test_weights_that_have_no_mean_are_refused(kind: str, settings: dict[str, Any]) -> None:
    base, models = random((4, 3), 2)
    with pytest.raises(MergeError, match=kind):
        ours(kind, models, None if kind in ("linear", "karcher") else base, weight=[1, -1], **settings)


def test_dot_products_are_those_of_float64_however_many_numbers_there_are() -> None:
    """An fp32 sum of four million squares is right to four digits."""
    _, models = random((2048, 2048), 2)
    tensors = Streamed(
        "tensor", tuple(Source(States({"tensor": model}, "model"), "tensor") for model in models), ("a", "b")
    )
    found = gram(tensors, models_alone)
    one, other = (model.double().reshape(-1) for model in models)
    expected = torch.tensor([[one @ one, one @ other], [other @ one, other @ other]])
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=0)


share = st.floats(-2, 2).filter(lambda value: abs(value) > 1e-3)


@given(st.integers(0, 2), share)
def test_one_hot_weights_copy_a_model(which: int, weight: float) -> None:
    base, models = random((5, 4), 3, seed=which)
    weights = [weight if number == which else 0.0 for number in range(3)]
    assert torch.equal(ours("linear", models, weight=weights), models[which])
    one = [float(number == which) for number in range(3)]
    assert torch.equal(ours("task-arithmetic", models, base, weight=one), models[which])
    assert torch.equal(ours("wise-ft", models, base, weight=weights, alpha=1.0), models[which])
    for kind in ("karcher", "multislerp"):
        assert_near(ours(kind, models, weight=one), models[which])


@given(st.integers(0, 50))
def test_the_ends_of_every_way_are_the_two_models(seed: int) -> None:
    base, (model, other) = random((5, 4), 2, seed=seed)
    for t, end in ((0.0, base), (1.0, model)):
        assert torch.equal(ours("slerp", [model], base, t=t), end)
        assert torch.equal(ours("wise-ft", [model], base, alpha=t), end)
        for flatten in (True, False):
            settings = {"weight": [1 - t, t], "nuslerp_flatten": flatten}
            assert_near(ours("nuslerp", [base, model], **settings), end)
            assert_near(ours("nuslerp", [base, model], other, **settings), end)


@given(st.integers(0, 50), st.floats(0, 1))
def test_slerp_of_vectors_as_long_as_each_other_keeps_their_length(seed: int, t: float) -> None:
    _, models = random((40,), 2, by=1.0, seed=seed)
    one, other = (torch.nn.functional.normalize(model, dim=0) for model in models)
    assert ours("slerp", [one, other], t=t).norm().item() == pytest.approx(1, abs=1e-6)


EQUAL = [
    ("linear", {"weight": [1, 2, 3]}, False),
    ("multislerp", {"weight": [1, 2, 3]}, True),
    ("karcher", {"weight": [1, 2, 3]}, False),
    ("model-stock", {}, True),
    ("model-stock", {"filter_wise": True}, True),
    ("wise-ft", {"alpha": 1.0}, True),
    ("task-arithmetic", {"normalize": True}, True),
]


@given(st.integers(0, 50))
def test_equal_models_give_that_model(seed: int) -> None:
    base, (model,) = random((5, 4), 1, seed=seed)
    for kind, settings, has_base in EQUAL:
        assert_near(ours(kind, [model] * 3, base if has_base else None, **settings), model)
    for flatten in (True, False):
        assert_near(ours("nuslerp", [model] * 2, base, nuslerp_flatten=flatten), model)
    assert torch.equal(ours("slerp", [model], model, t=0.3), model)
    assert torch.equal(ours("linear", [model] * 3, weight=[1, 2, 3]), model)


@given(share)
def test_a_negative_weight_takes_away_what_its_positive_gives(weight: float) -> None:
    base, (model,) = random((5, 4), 1)
    given, taken = (ours("task-arithmetic", [model], base, weight=[sign * weight]) for sign in (1, -1))
    assert_near(given + taken, 2 * base)


def test_an_analogy_is_the_sum_of_what_was_learnt() -> None:
    base, (first, second, third) = random((5, 4), 3)
    found = ours("task-arithmetic", [first, second, third], base, weight=[1, -1, 1])
    assert_near(found, first - second + third)


def test_wise_ft_of_several_goes_towards_their_mean() -> None:
    base, models = random((5, 4), 3)
    mean = sum(weight * model for weight, model in zip((0.2, 0.3, 0.5), models, strict=True))
    assert_near(ours("wise-ft", models, base, weight=[2, 3, 5], alpha=0.4), 0.6 * base + 0.4 * mean)


def test_model_stock_is_the_foot_of_the_perpendicular_from_the_shells_centre() -> None:
    """A transcription: two models at 60 degrees from the base have t = 2 / 2 / (1 + 1 / 2)."""
    base = torch.zeros(2)
    models = [torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.75**0.5])]
    assert_near(ours("model-stock", models, base), 2 / 3 * (models[0] + models[1]) / 2)


def test_model_stock_of_short_changes_differs_from_mergekits_in_its_least_length() -> None:
    base, models = random((10,), 2, by=1e-5)
    assert_near(
        (ours("model-stock", models, base, style="mergekit") - base), theirs("model-stock", models, base) - base
    )
    cosine = torch.nn.functional.cosine_similarity(models[0] - base, models[1] - base, dim=0)
    t = 2 * cosine / (1 + cosine)
    learnt = ours("model-stock", models, base) - base
    assert_near(learnt, t * (sum(models) / 2 - base), within=2e-7)


def test_models_that_pull_apart_leave_the_base() -> None:
    _, (model,) = random((5, 4), 1)
    flat = torch.zeros(5, 4)
    for filter_wise in (True, False):
        assert torch.equal(ours("model-stock", [model, -model], flat, filter_wise=filter_wise), flat)
