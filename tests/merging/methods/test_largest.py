"""The largest magnitudes of a tensor, whether it comes at once or in parts."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from luthier.merging.methods._largest import bits_of, largest, levels
from luthier.merging.parents.checkpoint import States
from luthier.merging.tensors import Source, Streamed
from tests.merging.methods.merged import ours


def streamed(models: Sequence[Tensor], *, part_elements: int = 2**22) -> Streamed:
    """Models away from a base of zeros, so that their changes are what is given."""
    base = States({"tensor": torch.zeros_like(models[0])}, "base")
    sources = tuple(Source(States({"tensor": model}, str(number)), "tensor") for number, model in enumerate(models))
    labels = tuple(str(number) for number in range(len(models)))
    return Streamed("tensor", sources, labels, Source(base, "tensor"), part_elements=part_elements)


def kept(tensors: Streamed, num: int, *, model: int = 0) -> Tensor:
    """What one cut leaves, all parts together."""
    nums = [[num] for _ in tensors.labels]
    [cut] = largest(tensors, nums, of=lambda part: part.deltas)[model]
    return torch.cat([cut.of(part.deltas[model], part.start) for part in tensors])


def sorted_out(values: Tensor, num: int) -> Tensor:
    """The same by sorting: by falling magnitude, then by index."""
    flat = values.flatten().tolist()
    order = sorted(range(len(flat)), key=lambda index: (-abs(flat[index]), index))
    left = torch.zeros(len(flat), dtype=values.dtype)
    left[order[:num]] = values.flatten()[order[:num]]
    return left.reshape(values.shape)


@st.composite
def grids(draw: st.DrawFn) -> Tensor:
    """Matrices with many equal magnitudes, zeros, and numbers next to each other."""
    rows, width = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    levels_of = [0.0, -0.0, 1.0, -1.0, 1.0000001, -2.0, 1e-42, -1e-42, 1e-45, 3e38, 0.5, -0.25]
    numbers = draw(st.lists(st.sampled_from(levels_of), min_size=rows * width, max_size=rows * width))
    return torch.tensor(numbers).reshape(rows, width)


@given(grids(), st.data())
def test_so_many_are_kept_as_sorting_keeps_lowest_index_first(values: Tensor, data: st.DataObject) -> None:
    num = data.draw(st.integers(1, values.numel()))
    part_elements = data.draw(st.integers(1, 50))
    expected = sorted_out(values, num)
    assert torch.equal(kept(streamed([values]), num), expected)
    assert torch.equal(kept(streamed([values], part_elements=part_elements), num), expected)


@pytest.mark.parametrize("num", [1, 17, 1500, 2999, 3000])
def test_one_part_and_many_find_the_same_cut_of_continuous_numbers(num: int) -> None:
    models = [torch.randn(60, 50, generator=torch.Generator().manual_seed(seed)) * 10.0**-seed for seed in range(3)]
    nums = [[num, 3000], [max(1, num // 2)], [num]]
    whole = largest(streamed(models), nums, of=lambda part: part.deltas)
    many = largest(streamed(models, part_elements=500), nums, of=lambda part: part.deltas)
    assert [[cut.level for cut in cuts] for cuts in whole] == [[cut.level for cut in cuts] for cuts in many]
    assert torch.equal(kept(streamed(models, part_elements=500), num, model=1), sorted_out(models[1], num))


def test_numbers_of_bf16_come_in_ties_and_are_cut_alike() -> None:
    values = torch.randn(40, 30, generator=torch.Generator().manual_seed(0)).bfloat16()
    for num in (1, 3, 400, 1199):
        expected = sorted_out(values.float(), num)
        assert torch.equal(kept(streamed([values]), num), expected)
        assert torch.equal(kept(streamed([values], part_elements=90), num), expected)


def test_double_numbers_are_compared_as_single_ones_and_stay_double() -> None:
    values = torch.tensor([[1.0, 1.0 + 1e-12, -3.0, 2.0]], dtype=torch.float64)
    assert kept(streamed([values]), 3).tolist() == [[1.0, 0.0, -3.0, 2.0]]
    assert kept(streamed([values]), 3).dtype == torch.float64


@pytest.mark.parametrize("part_elements", [100, 4])
def test_a_number_that_is_none_is_found_by_whoever_looks_at_the_result(part_elements: int) -> None:
    model = torch.ones(3, 4)
    model[1, 2] = float("nan")
    for settings_of in ({}, {"trim": "tensor"}, {"style": "mergekit", "density": 0.1}):
        found = ours("ties", [model, torch.ones(3, 4)], torch.zeros(3, 4), part_elements=part_elements, **settings_of)
        assert found[1, 2].isnan()


def test_what_is_no_number_is_never_cut_off() -> None:
    values = torch.tensor([[1.0, float("nan"), 2.0, float("inf")]])
    assert torch.equal(kept(streamed([values]), 2).isnan(), values.isnan())
    assert kept(streamed([values]), 2)[0, 3] == float("inf")


@given(st.integers(0, 1000), st.integers(1, 5))
@settings(max_examples=20)
def test_levels_do_not_depend_on_the_pieces_nor_their_order(seed: int, num_pieces: int) -> None:
    values = torch.randn(200, generator=torch.Generator().manual_seed(seed))
    pieces = values[torch.randperm(200, generator=torch.Generator().manual_seed(seed))].chunk(num_pieces)
    [[level]] = levels(lambda work: [work([piece]) for piece in pieces], [[30]])  # type: ignore[arg-type, func-returns-value]
    thirtieth = values.abs().sort(descending=True).values[29:30]
    assert level.bits == int(bits_of(thirtieth))
