"""Brackets exact, as often as a known budget pays for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.searching.schedulers._rounds import round_of, rounds
from luthier.searching.schedulers.bohb import Bohb
from luthier.searching.schedulers.hyperband import Hyperband
from luthier.trials.history import Terms


def test_brackets_start_with_the_papers_numbers_of_trials() -> None:
    """Li et al. 2018, algorithm 1: n = ceil((s_max + 1) / (s + 1) eta^s), r = R eta^-s, for R = 81 and eta = 3."""
    found = round_of(Terms(81, 3, 0))
    assert [bracket.num_trials for bracket in found] == [81, 34, 15, 8, 5]
    assert [bracket.first for bracket in found] == [1, 3, 9, 27, 81]
    assert [bracket.sizes for bracket in found] == [(81, 27, 9, 3, 1), (34, 11, 3, 1), (15, 5, 1), (8, 2), (5,)]


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        (69, [(9, 1), (5, 3), (3, 9)]),  # a round: 21 + 21 + 27
        (180, [(9, 1), (5, 3), (3, 9)] * 2 + [(9, 1), (5, 3)]),  # two, and what fits of a third: 42
        (60, [(9, 1), (5, 3), (2, 9)]),  # the last bracket with fewer
        (20, [(4, 3)]),  # 9 trials at 1 unit would cost 21
        (9, [(1, 9)]),
        (8, []),
    ],
)
def test_a_known_budget_is_cut_into_whole_rounds_and_what_still_fits(
    units: int, expected: list[tuple[int, int]]
) -> None:
    assert [(bracket.num_trials, bracket.first) for bracket in rounds(units, Terms(9, 3, units))] == expected


@given(eta=st.integers(2, 4), num_rungs=st.integers(1, 4), units=st.integers(0, 1000))
def test_the_plan_never_exceeds_the_budget_and_leaves_less_than_a_full_run(
    eta: int, num_rungs: int, units: int
) -> None:
    terms = Terms(eta ** (num_rungs - 1), eta, units)
    found = rounds(units, terms)
    left = units - sum(bracket.cost for bracket in found)
    assert 0 <= left < terms.horizon
    assert all(bracket.sizes[-1] >= 1 for bracket in found)
    whole = sum(bracket.cost for bracket in round_of(terms))
    assert list(found[: units // whole * num_rungs]) == round_of(terms) * (units // whole)


def test_bohb_is_hyperband_with_a_model() -> None:
    terms = Terms(27, 3, 500)
    assert Bohb().plan(500, terms) == Hyperband().plan(500, terms)
    assert (Bohb.advises, Hyperband.advises) == ("tpe", None)
