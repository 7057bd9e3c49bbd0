"""The parts of a search for a merge's settings: what it varies, who says what to try, what counts, its verdict."""

import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from luthier.errors import MergeError, MissingExtra
from luthier.evaluation.metrics.accuracy import Accuracy
from luthier.evaluation.metrics.loss import Loss
from luthier.merging.scoring.scores import Judged
from luthier.merging.searching.groups import ALL, grouped
from luthier.merging.searching.objective import objective, relative
from luthier.merging.searching.samplers import ChanceThenCma, Sampler
from luthier.merging.searching.space import Point, Space
from luthier.merging.searching.verdict import told, verdict
from tests.tiny import tiny

NAMES = {"embed.weight": ALL, "layers.0.weight": "blocks.0-0", "layers.1.weight": "blocks.1-1"}


def space(kind: str = "task-arithmetic", groups: Mapping[str, str] = NAMES, **fixed: Any) -> Space:
    return Space.of(kind, ["a", "b"], groups, fixed=fixed)


def test_each_group_is_what_its_selector_means_to_the_house() -> None:
    from luthier.models.selectors import select

    for family in ("bert", "llama", "bart"):
        model = tiny(family, head="base")
        names = [name for name, _ in model.named_parameters()]
        for grouping in ("thirds", "roles"):
            groups = grouped(names, model.config.to_dict(), grouping)  # type: ignore[arg-type]
            assert len(set(groups.values())) > 2
            for selector in set(groups.values()) - {ALL}:
                wanted = set(select(model, [selector], where="test"))
                assert {name for name in names if groups[name] == selector} == wanted


def test_thirds_of_seven_blocks_leave_none_out() -> None:
    names = [f"layers.{number}.weight" for number in range(7)]
    groups = grouped(names, {"num_hidden_layers": 7}, "thirds")
    assert list(dict.fromkeys(groups.values())) == ["blocks.0-2", "blocks.3-4", "blocks.5-6"]


def test_a_kind_gives_the_numbers_that_it_has() -> None:
    assert [(each.model, each.group) for each in space().dimensions] == [
        (model, group) for model in "ab" for group in (ALL, "blocks.0-0", "blocks.1-1")
    ]
    dare = {each.setting for each in space("dare-linear").dimensions}
    assert dare == {"weight", "density"}
    assert [(each.model, each.setting) for each in space("slerp", dict.fromkeys(NAMES, ALL)).dimensions] == [("", "t")]


def test_a_density_over_the_whole_model_is_one_for_all_groups() -> None:
    def groups_of_density(**fixed: Any) -> set[str]:
        return {each.group for each in space("ties", **fixed).dimensions if each.setting == "density"}

    assert groups_of_density() == {ALL}
    assert groups_of_density(trim="tensor") == set(NAMES.values())
    assert groups_of_density(style="mergekit") == set(NAMES.values())


def test_what_is_fixed_is_not_varied() -> None:
    assert {each.setting for each in space("dare-linear", density=(0.5,)).dimensions} == {"weight"}
    with pytest.raises(MergeError, match="model-stock has no weight, density, t"):
        space("model-stock")


def test_equal_weights_are_the_sum_and_the_mean_of_what_was_learnt() -> None:
    sums = [set(space().values(point).values()) for point in space().uniform]
    assert sums == [{1.0}, {0.5}]
    assert [set(space("linear").values(point).values()) for point in space("linear").uniform] == [{1.0}]


def test_a_points_settings_are_those_that_its_methods_have() -> None:
    places = space()
    point = tuple(np.linspace(0.1, 0.9, len(places.dimensions)))
    said, method = places.settings(point), places.method(point)
    for name, group in NAMES.items():
        assert method(name).weight == tuple(said[model]["weight"][group] for model in "ab")


def walked(sampler: Sampler, num: int, best: float = 0.7) -> list[tuple[Point, float]]:
    """What a sampler tries where the best place is known."""
    tried = []
    for _ in range(num):
        point = sampler.ask()
        score = -sum((place - best) ** 2 for place in point)
        sampler.tell(point, score)
        tried.append((point, score))
    return tried


def test_cma_comes_nearer_than_chance() -> None:
    tried = walked(ChanceThenCma(5, num_random=10, seed=3), 120)
    chance = walked(ChanceThenCma(5, num_random=120, seed=3), 120)
    assert max(score for _, score in tried) > max(score for _, score in chance) / 5
    assert all(0 <= place <= 1 for point, _ in tried for place in point)


def test_a_sampler_repeats_itself_whatever_else_draws_numbers() -> None:
    once = walked(ChanceThenCma(3, num_random=4, seed=1), 40)
    np.random.seed(5)
    assert walked(ChanceThenCma(3, num_random=4, seed=1), 40) == once
    assert walked(ChanceThenCma(3, num_random=4, seed=2), 40) != once


def test_a_single_dimension_is_left_to_chance() -> None:
    assert max(score for _, score in walked(ChanceThenCma(1, num_random=2, seed=0), 60)) > -0.01


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.extras.find_spec", lambda name: None if name == "cma" else ModuleType(name))
    with pytest.raises(
        MissingExtra, match=r"luthier merge search needs an optional part: pip install 'luthier\[merge\]'"
    ):
        ChanceThenCma(2, num_random=1, seed=0)


def test_a_score_counts_against_the_runs_own() -> None:
    assert relative(Accuracy(), 0.6, 0.8) == pytest.approx(0.75)
    assert relative(Loss(), 0.8, 0.6) == pytest.approx(2 / 3)
    assert relative(Loss(), 0.0, 0.6) == 2 > relative(Loss(), 0.01, 0.6)
    assert relative(Accuracy(), 0.0, 0.8) == 0
    assert relative(Accuracy(), 0.3, 0.0) == pytest.approx(1.3)  # no ratio: the difference
    assert relative(Accuracy(), math.nan, 0.8) == -math.inf


def test_tasks_count_by_their_mean_or_by_the_worst() -> None:
    metrics = {"x": Accuracy(), "y": Accuracy()}
    own, scores = (
        {task: {"accuracy": value} for task, value in zip("xy", pair, strict=True)} for pair in ((0.8, 0.5), (0.4, 0.5))
    )
    assert objective(metrics, scores, own, over="mean") == pytest.approx(0.75)
    assert objective(metrics, scores, own, over="minimum") == pytest.approx(0.5)


def hits(*right: float) -> Judged:
    """What accuracy says of rows that were right or not."""
    rows = np.array(right)
    return Judged({"accuracy": float(rows.mean())}, {"accuracy": rows})


def test_a_verdict_tells_a_gain_from_luck() -> None:
    metrics, own = {"x": Accuracy()}, {"x": hits(*[1.0] * 60)}
    few, many = [1.0] * 30 + [0.0] * 30, [1.0] * 50 + [0.0] * 10
    real = verdict(metrics, own, {"x": hits(*few)}, {"x": hits(*many)})
    assert real.gain.value == pytest.approx(1 / 3)
    assert real.is_real
    assert "better than equal weights, beyond the draw" in told(real, is_uniform=False, gained=0.2)[0]
    luck = verdict(metrics, own, {"x": hits(*few)}, {"x": hits(*[1.0] * 31 + [0.0] * 29)})
    assert not luck.is_real
    assert "may be luck" in told(luck, is_uniform=False, gained=0.2)[0]
    worse = verdict(metrics, own, {"x": hits(*many)}, {"x": hits(*few)})
    assert worse.differences["x"].high < 0
    assert "worse than equal weights" in told(worse, is_uniform=False, gained=0.2)[0]
    same = verdict(metrics, own, {"x": hits(*few)}, {"x": hits(*few)})
    assert "bought nothing" in told(same, is_uniform=False, gained=0.2)[0]


def test_a_search_that_ends_at_equal_weights_bought_nothing() -> None:
    assert told(None, is_uniform=True, gained=0.0) == [
        "The search bought nothing: no settings did better than equal weights on the rows that it chose by."
    ]
