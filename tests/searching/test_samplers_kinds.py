"""What each sampler does beside what all do."""

import numpy as np
import pytest

from luthier.searching.samplers import Sampler
from luthier.searching.samplers._cube import Cube
from luthier.searching.samplers._scalar import as_one
from luthier.searching.samplers._seen import Point, seen
from luthier.searching.samplers._surrogate import Surrogate, _squeezed
from luthier.searching.samplers._untried import first_untried
from luthier.searching.samplers.gp import Gp
from luthier.searching.samplers.grid import Grid
from luthier.searching.samplers.nsga2 import Nsga2, _on_another_level, best
from luthier.searching.samplers.sobol import Sobol
from luthier.searching.samplers.tpe import Tpe
from luthier.trials.history import History, Rung, Trial, Values
from luthier.trials.space import Space

LINE = Space.of({"x": {"uniform": [0, 1]}})
TREE = Space.of({"method": {"choice": [{"kind": "lora", "rank": {"choice": [4, 8]}}, {"kind": "full"}]}})


def all_of(sampler: Sampler, space: Space, *, most: int, seed: int = 0) -> list[Values]:
    history, found = History(), []
    while len(found) < most and (values := sampler.suggest(space, history, seed=seed + len(found))) is not None:
        found.append(values)
        history = History((*history.trials, Trial(len(found) - 1, values, "done", 1, rungs=(Rung(1, (0.0,), 1.0),))))
    return found


def told(*scored: tuple[float, float], excess: tuple[float, ...] = ()) -> History:
    return History(
        tuple(
            Trial(number, {"x": x}, "done", 1, rungs=(Rung(1, (score,), 1.0, excess),))
            for number, (x, score) in enumerate(scored)
        )
    )


def surrogate(*trials: Trial) -> Surrogate:
    found = seen(LINE, History(trials), "every")
    return Surrogate.of(Cube(LINE), found.points, found.pending)


def test_a_grid_has_every_setting_once_and_ranges_in_their_levels() -> None:
    assert all_of(Grid(), TREE, most=9) == [
        {"method": "lora", "method=lora:method.rank": "4"},
        {"method": "lora", "method=lora:method.rank": "8"},
        {"method": "full"},
    ]
    assert [values["x"] for values in all_of(Grid(num=4), LINE, most=9)] == [0.125, 0.375, 0.625, 0.875]


def test_a_grid_passes_over_what_the_recipe_itself_has_tried() -> None:
    history = History((Trial(0, {"method": "full"}, "done", 1),))
    second = Grid().suggest(TREE, history, seed=0)
    assert second == {"method": "lora", "method=lora:method.rank": "4"}
    assert len(all_of(Grid(), TREE, most=9)) == 3


def test_sobol_points_of_one_search_fill_each_piece_of_a_line_once() -> None:
    found = [float(values["x"]) for values in all_of(Sobol(), LINE, most=16, seed=12345)]
    assert sorted(int(16 * each) for each in found) == list(range(16))


def test_another_seed_of_the_search_gives_other_sobol_points() -> None:
    assert all_of(Sobol(), LINE, most=4, seed=1000) != all_of(Sobol(), LINE, most=4, seed=2000)


@pytest.mark.parametrize("acquisition", ["log-ei", "ucb", "pi"])
def test_every_acquisition_looks_where_the_score_falls(acquisition: str) -> None:
    history = told(*[(x, (x - 0.6) ** 2) for x in (0.05, 0.3, 0.5, 0.9)])
    found = Gp.model_validate({"acquisition": acquisition}).suggest(LINE, history, seed=0)
    assert found is not None
    assert 0.5 < float(found["x"]) < 0.75


def test_a_running_trial_keeps_the_process_from_its_place() -> None:
    history = told(*[(x, (x - 0.6) ** 2) for x in (0.05, 0.3, 0.5, 0.9)])
    first = Gp().suggest(LINE, history, seed=0)
    assert first is not None
    running = History((*history.trials, Trial(4, first, "running", 1)))
    second = Gp().suggest(LINE, running, seed=0)
    assert second is not None
    assert abs(float(first["x"]) - float(second["x"])) > 1e-3


def test_a_look_is_not_taken_where_a_trial_waits_that_may_go_on() -> None:
    rungs = [(x, (Rung(1, ((x - 0.6) ** 2 + 0.1,), 1.0),)) for x in (0.05, 0.3, 0.55, 0.62, 0.9)]
    paused = tuple(Trial(number, {"x": x}, "paused", 1, rungs=each) for number, (x, each) in enumerate(rungs))
    whole = Trial(5, {"x": 0.4}, "done", 3, rungs=(Rung(1, (0.14,), 1.0), Rung(3, (0.04,), 3.0)))

    def distance(*, is_for_look: bool) -> float:
        history = History((*paused, whole), is_for_look=is_for_look)
        found = Gp(num_even=1).suggest(LINE, history, seed=0)
        assert found is not None
        return min(abs(float(found["x"]) - x) for x, _ in rungs)

    assert distance(is_for_look=True) > 1.5 * distance(is_for_look=False)


def test_a_process_looks_where_a_constraint_holds() -> None:
    trials = tuple(
        Trial(number, {"x": x}, "done", 1, rungs=(Rung(1, (-x,), 1.0, (x - 0.5,)),))
        for number, x in enumerate((0.1, 0.3, 0.45, 0.6, 0.8, 0.95))
    )
    found = Gp().suggest(LINE, History(trials), seed=0)
    assert found is not None
    assert 0.4 < float(found["x"]) < 0.55


def test_a_constraint_that_holds_early_is_known_to_break_later() -> None:
    """Seconds: at 1 of 9 units a trial has taken a ninth, and keeps any limit that it breaks in the end."""

    def judged(number: int, x: float, *places: int) -> Trial:
        rungs = tuple(Rung(place, (-x,), 1.0, (2 * x * place / 9 - 1,)) for place in places)
        return Trial(number, {"x": x}, "paused", places[-1], rungs=rungs)

    trials = [judged(number, (number * 0.618) % 1, *((1, 3, 9) if number % 3 == 0 else (1,))) for number in range(15)]
    model = surrogate(*trials)
    (limit,) = model.limits
    assert limit.excess(np.array([[0.9]]))[0] == pytest.approx(0.8, abs=0.3)
    assert limit.excess(np.array([[0.1]]))[0] == pytest.approx(-0.8, abs=0.3)
    assert model.leaders[0][0] < 0.5


def test_where_no_constraint_holds_the_least_broken_lead() -> None:
    trials = [
        Trial(number, {"x": x}, "done", 1, rungs=(Rung(1, (x,), 1.0, (1.5 - x,)),))
        for number, x in enumerate((0.1, 0.3, 0.9, 0.5, 0.7))
    ]
    model = surrogate(*trials)
    assert model.best is None
    assert model.leaders.ravel().tolist() == [0.9, 0.7, 0.5]


def test_a_bound_is_not_added_to_a_logarithm() -> None:
    """A bound of many deviations would outweigh how unlikely it is that the constraint holds beyond 0.5."""
    trials = tuple(
        Trial(number, {"x": x}, "done", 1, rungs=(Rung(1, (-x,), 1.0, (x - 0.5,)),))
        for number, x in enumerate((0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65))
    )
    found = Gp(acquisition="ucb", width=1e4).suggest(LINE, History(trials), seed=0)
    assert found is not None
    assert float(found["x"]) < 0.6


def test_of_scores_half_of_which_are_alike_the_others_still_differ() -> None:
    squeezed = _squeezed(np.array([0.0] * 6 + [1.0, 2.0, 3.0, 1e9]))
    assert squeezed[:6].tolist() == [0.0] * 6
    steps = np.diff(squeezed[5:])
    assert (steps > 0.1).all()
    assert squeezed[-1] < 10
    assert _squeezed(np.zeros(4)).tolist() == [0.0] * 4


def test_a_child_leaves_its_parents_levels_where_these_are_few() -> None:
    space = Space.of({"a": {"choice": [4, 8, 16]}, "b": {"int": [1, 2]}})
    cube, random = Cube(space), np.random.default_rng(0)
    parents = [np.array(space.units({"a": "8", "b": 1}))] * 4
    found = [tuple(space.values(Nsga2()._child(parents, cube, random).tolist()).values()) for _ in range(400)]
    assert sum(each != ("8", 1) for each in found) > 200  # 1 - 0.5 ** 2 of all mutate
    assert {each[0] for each in found} == {"4", "8", "16"}


def test_another_level_is_never_the_same_one() -> None:
    random, levels = np.random.default_rng(0), np.array([2.0, 3.0, 7.0])
    before = np.array([0.75, 0.5, 0.9])
    found = np.array([_on_another_level(before, levels, random) for _ in range(200)])
    assert set(np.floor(found[:, 0] * 2)) == {0.0}
    assert set(np.floor(found[:, 1] * 3)) == {0.0, 2.0}
    assert set(np.floor(found[:, 2] * 7)) == {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}


def test_what_is_left_of_a_finite_space_is_drawn_before_it_is_gone_through_in_order() -> None:
    space = Space.of({"a": {"int": [1, 100]}, "b": {"int": [1, 100]}})
    found = [first_untried(space, History(), (), seed=seed) for seed in range(20)]
    assert len({tuple(values.values()) for values in found if values}) > 15


def test_a_score_beyond_all_bounds_does_not_blind_the_process() -> None:
    scored = [(x, (x - 0.6) ** 2) for x in (0.05, 0.2, 0.35, 0.5, 0.75, 0.9)]
    found = Gp().suggest(LINE, told(*scored, (0.99, 1e12)), seed=0)
    assert found is not None
    assert 0.5 < float(found["x"]) < 0.75


def test_tpe_stays_among_the_good_options() -> None:
    space = Space.of({"kind": {"choice": ["good", "bad", "worse"]}, "x": {"uniform": [0, 1]}})
    trials = tuple(
        Trial(number, {"kind": kind, "x": 0.5}, "done", 1, rungs=(Rung(1, (float(score),), 1.0),))
        for number, (kind, score) in enumerate([("good", 0), ("bad", 1), ("worse", 2)] * 10)
    )
    found = [Tpe().suggest(space, History(trials), seed=seed) for seed in range(10)]
    assert sum(values is not None and values["kind"] == "good" for values in found) >= 7


def test_the_best_parents_are_feasible_then_on_the_first_front_then_with_room() -> None:
    def point(*scores: float, excess: float = 0.0) -> Point:
        return Point({"x": scores[0]}, scores, (excess,), 1.0)

    corner, middle, near, other, behind = point(0, 4), point(2, 2), point(2.1, 1.9), point(4, 0), point(4, 4)
    broken = point(-1, -1, excess=1.0)
    order = best((broken, behind, middle, corner, near, other))
    assert set(map(id, order[:2])) == {id(corner), id(other)}
    assert order[4:] == [behind, broken]


def test_several_objectives_as_one_keep_what_dominates_before_what_is_dominated() -> None:
    points = [Point({}, scores, (), 1.0) for scores in ((1.0, 30.0), (2.0, 40.0), (3.0, 20.0))]
    for seed in range(5):
        one, dominated, _ = (point.scores[0] for point in as_one(points, seed=seed))
        assert one < dominated


def test_a_point_is_put_to_the_levels_it_means_and_what_does_not_apply_to_the_middle() -> None:
    cube = Cube(TREE)
    assert cube.is_category.tolist() == [True, False]
    snapped = cube.snapped(np.array([[0.2, 0.9], [0.7, 0.9]]))
    assert snapped.tolist() == [[0.25, 0.75], [0.75, 0.5]]
    assert cube.bounds(snapped[0]) == [(0.25, 0.25), (0.0, 1.0)]
    assert cube.bounds(snapped[1]) == [(0.75, 0.75), (0.5, 0.5)]
