"""What `auto` stands for depends on how many full runs the budget holds, and on the space."""

from dataclasses import replace

import pytest

from luthier.component import find
from luthier.searching.choosing import choose, settle
from luthier.searching.samplers import Sampler
from luthier.searching.samplers.auto import Auto as AutoSampler
from luthier.searching.samplers.tpe import Tpe
from luthier.searching.schedulers import Scheduler
from luthier.searching.schedulers.auto import Auto as AutoScheduler
from luthier.searching.schedulers.bohb import Bohb
from luthier.trials.history import History, Terms, Trial
from luthier.trials.space import Space


def real(num_parameters: int) -> Space:
    return Space.of({f"training.p{number}": {"uniform": [0, 1]} for number in range(num_parameters)})


def terms(num_runs: float) -> Terms:
    return Terms(horizon=9, eta=3, units=int(num_runs * 9))


def kinds(space: Space, num_runs: float) -> tuple[str, str]:
    return AutoSampler().resolved(space, terms(num_runs)).kind(), AutoScheduler().resolved(
        space, terms(num_runs)
    ).kind()


@pytest.mark.parametrize(
    ("num_parameters", "num_runs", "expected"),
    [
        (6, 40, ("gp", "asha")),
        (6, 5, ("gp", "asha")),
        (6, 4.9, ("random", "asha")),
        (9, 40, ("tpe", "asha")),
        (9, 20, ("tpe", "asha")),
    ],
)
def test_the_budget_and_the_number_of_parameters_choose(
    num_parameters: int, num_runs: float, expected: tuple[str, str]
) -> None:
    assert kinds(real(num_parameters), num_runs) == expected


def test_with_runs_for_both_the_looks_come_first_and_then_full_runs() -> None:
    many, few = (AutoScheduler().resolved(real(6), terms(num_runs)) for num_runs in (20, 19))
    assert (many.model_dump()["looks"], few.model_dump()["looks"]) == (0.25, 1.0)


def test_a_grid_that_the_budget_holds_is_gone_through() -> None:
    space = Space.of({"a.b": {"choice": [1, 2, 3]}, "a.c": {"choice": [True, False]}})
    assert kinds(space, 6) == ("grid", "full")
    assert kinds(space, 5) == ("gp", "asha")


def test_several_objectives_need_a_sampler_for_them() -> None:
    assert choose(real(3), replace(terms(50), num_objectives=2)).sampler == "nsga2"


@pytest.mark.parametrize(
    ("sampler", "scheduler", "num_runs", "expected"),
    [
        ("auto", "auto", 50, ("gp", "asha")),
        ("auto", "bohb", 50, ("tpe", "bohb")),
        ("auto", "hyperband", 50, ("gp", "hyperband")),
        ("random", "auto", 50, ("random", "asha")),
        ("gp", "auto", 50, ("gp", "asha")),
        ("gp", "bohb", 50, ("gp", "bohb")),
        ("sobol", "full", 50, ("sobol", "full")),
    ],
)
def test_what_is_auto_suits_what_is_said(
    sampler: str, scheduler: str, num_runs: float, expected: tuple[str, str]
) -> None:
    settled = settle(find("samplers", sampler)(), find("schedulers", scheduler)(), real(3), terms(num_runs))  # type: ignore[arg-type]
    assert tuple(each.kind() for each in settled) == expected


def test_bohb_learns_from_the_highest_rung_with_enough_trials() -> None:
    sampler, _ = settle(AutoSampler(), Bohb(), real(3), terms(50))
    assert sampler == Tpe(rungs="highest")


def test_a_grid_that_is_chosen_leaves_out_no_whole_number() -> None:
    space = Space.of({"a.b": {"int": [1, 7]}})
    sampler, history, found = AutoSampler().resolved(space, terms(8)), History(), []
    while (values := sampler.suggest(space, history, seed=0)) is not None:
        found.append(values["a.b"])
        history = History((*history.trials, Trial(len(found) - 1, values, "done", 9)))
    assert found == [1, 2, 3, 4, 5, 6, 7]


def test_the_reason_is_told() -> None:
    assert choose(real(3), terms(2)).because.startswith("the budget holds 2 full runs, too few")


def test_whatever_is_chosen_is_there() -> None:
    for num_runs in (2, 10, 50):
        for num_parameters in (2, 20):
            chosen = choose(real(num_parameters), terms(num_runs))
            assert issubclass(find("samplers", chosen.sampler), Sampler)
            assert issubclass(find("schedulers", chosen.scheduler), Scheduler)


def test_auto_itself_decides_nothing() -> None:
    with pytest.raises(AssertionError, match="resolved sampler"):
        AutoSampler().suggest(real(1), History(), seed=0)
    with pytest.raises(AssertionError, match="resolved scheduler"):
        AutoScheduler().options(History(), terms(1))
