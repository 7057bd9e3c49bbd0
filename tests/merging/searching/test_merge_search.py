"""A whole search for a merge's settings, on two runs: its candidates, its log, its recipe, what it says."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.making import How, make
from luthier.merging.recipes.reading import read
from luthier.merging.scoring.scores import Bench
from luthier.merging.searching.groups import ALL, grouped
from luthier.merging.searching.models import Models
from luthier.merging.searching.samplers import Sampler
from luthier.merging.searching.search import FOUND, RECIPE, TRIED, Asked, Found, search
from luthier.merging.searching.shown import show
from luthier.merging.searching.space import Point, Space


@pytest.fixture(scope="session")
def bench(family: Path) -> Bench:
    return Bench([family / "topics", family / "mails"], limit=12)


@pytest.fixture(scope="session")
def models(family: Path) -> Models:
    return Models.open([str(family / "topics"), str(family / "mails")], base=str(family / "base"))


ASKED = Asked(kind="task-arithmetic", groups="thirds", num_candidates=6)


def found_by(
    models: Models, bench: Bench, asked: Asked, folder: Path, **how: Any
) -> tuple[Found, list[dict[str, Any]]]:
    records = list(search(models, bench, asked, folder=folder, **how))
    found = records[-1]["found"]
    assert isinstance(found, Found)
    return found, [record for record in records if record["event"] == "candidate"]


def test_a_search_begins_with_equal_weights_and_its_best_is_no_worse(
    models: Models, bench: Bench, tmp_path: Path
) -> None:
    found, tried = found_by(models, bench, ASKED, tmp_path)
    assert [record["settings"]["topics"]["weight"] for record in tried[:2]] == [
        dict.fromkeys((ALL, "blocks.0-1", "blocks.2-2", "blocks.3-3"), weight) for weight in (1.0, 0.5)
    ]
    assert found.best.objective == max(record["objective"] for record in tried) >= found.uniform.objective
    assert found.num_tried == len(tried) == 6
    assert json.loads((tmp_path / FOUND).read_text())["conclusions"] == list(found.conclusions)


def test_a_candidates_scores_are_those_of_its_settings_merged(models: Models, bench: Bench, tmp_path: Path) -> None:
    _, tried = found_by(models, bench, replace(ASKED, groups="whole", num_candidates=4), tmp_path)
    last = tried[-1]
    weights = [last["settings"][label]["weight"] for label in ("topics", "mails")]
    body: dict[str, Tensor] = {}
    assert models.base is not None
    for name, base in models.base.items():
        deltas = [
            weight * (states[name] - base) for weight, states in zip(weights, models.states.values(), strict=True)
        ]
        body[name] = base + sum(deltas)
    for task, scores in bench.scores(body).items():
        assert last["scores"][task] == pytest.approx(scores, abs=1e-4)


def test_a_search_that_was_stopped_judges_nothing_twice(models: Models, bench: Bench, tmp_path: Path) -> None:
    whole, _ = found_by(models, bench, replace(ASKED, num_candidates=20), tmp_path / "whole")
    log = tmp_path / "again" / TRIED
    log.parent.mkdir()
    text = (tmp_path / "whole" / TRIED).read_text()
    lines = text.splitlines(keepends=True)
    log.write_text("".join(lines[:-4]) + lines[-4][:40])  # killed while it wrote
    again, tried = found_by(models, bench, replace(ASKED, num_candidates=20), log.parent, resume=True)
    assert [record["is_new"] for record in tried] == [False] * 16 + [True] * 4
    assert again.best.point == whole.best.point
    points = [json.loads(line)["point"] for line in log.read_text().splitlines()[1:]]
    assert points == [json.loads(line)["point"] for line in lines[1:]]


def test_another_search_is_never_gone_on_with(models: Models, bench: Bench, tmp_path: Path) -> None:
    few = replace(ASKED, num_candidates=2)
    found_by(models, bench, few, tmp_path)
    with pytest.raises(MergeError, match="exists; say --resume"):
        found_by(models, bench, few, tmp_path)
    with pytest.raises(MergeError, match="is of a search with another seed"):
        found_by(models, bench, replace(few, seed=1), tmp_path, resume=True)


def test_no_candidate_begins_after_its_time_but_equal_weights_always_do(
    models: Models, bench: Bench, tmp_path: Path
) -> None:
    found, tried = found_by(models, bench, replace(ASKED, seconds=0.0), tmp_path)
    assert len(tried) == 2
    assert found.best == found.uniform
    assert found.conclusions[0].startswith("The search bought nothing")


def test_the_recipe_that_is_found_merges_to_what_was_judged(models: Models, bench: Bench, tmp_path: Path) -> None:
    asked = replace(ASKED, kind="dare-linear", groups="roles", num_candidates=5, fixed={"seed": 3})
    found, _ = found_by(models, bench, asked, tmp_path / "search")
    recipe = read(tmp_path / "search" / RECIPE)
    list(make(recipe, tmp_path / "merged", How(is_checked=False)))
    groups = grouped(list(next(iter(models.states.values()))), models.config, "roles")
    places = Space.of("dare-linear", ["topics", "mails"], groups, fixed={"seed": 3})
    wanted = models.merged(places, found.best.point)
    from luthier.merging.parents.checkpoint import Folder

    made = Folder(tmp_path / "merged", "merged")
    assert set(made.specs) >= set(wanted)
    for name, tensor in wanted.items():
        assert torch.allclose(made.read(name), tensor, atol=1e-6), name


def test_another_sampler_may_say_what_to_try(models: Models, bench: Bench, tmp_path: Path) -> None:
    class Corner(Sampler):
        scores: list[float] = []

        def ask(self) -> Point:
            return (0.0,) * 8

        def tell(self, point: Point, score: float) -> None:
            self.scores.append(score)

    _, tried = found_by(models, bench, replace(ASKED, num_candidates=3), tmp_path, sampler=Corner())
    assert tried[2]["settings"]["mails"]["weight"] == dict.fromkeys(
        (ALL, "blocks.0-1", "blocks.2-2", "blocks.3-3"), 0.0
    )
    assert [record["objective"] for record in tried] == Corner.scores


def test_no_weights_change_while_a_search_goes_on(models: Models, bench: Bench, tmp_path: Path) -> None:
    before = {task: {n: t.clone() for n, t in each.body.items()} for task, each in bench.subjects.items()}
    held = {label: {name: tensor.clone() for name, tensor in states.items()} for label, states in models.states.items()}
    found_by(models, bench, replace(ASKED, kind="ties", num_candidates=3), tmp_path)
    for task, subject in bench.subjects.items():
        assert all(torch.equal(tensor, before[task][name]) for name, tensor in subject.body.items())
    for label, states in models.states.items():
        assert all(torch.equal(tensor, held[label][name]) for name, tensor in states.items())


def test_the_screen_tells_what_was_found(
    models: Models, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(highlight=False, soft_wrap=True)
    found = None
    for record in search(models, bench, replace(ASKED, num_candidates=4), folder=tmp_path):
        show(record, console)
        found = record.get("found", found)
    shown = capsys.readouterr().out
    assert "8 numbers, 4 candidates" in shown
    assert found is not None
    assert found.conclusions[0] in shown
