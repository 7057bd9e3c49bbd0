"""The commands of `luthier search`, as a user types them."""

import json
from pathlib import Path
from typing import Any

import pytest

import luthier
from luthier.cli import main
from luthier.errors import LuthierError, RecipeError
from luthier.recipe import check, dump, read
from luthier.run import Run
from luthier.searching.samplers.random import Random
from luthier.searching.schedulers.asha import Asha
from luthier.studying.concluding import Found
from luthier.studying.database import url_of
from luthier.studying.opening import earlier_trials, look
from luthier.studying.performing import Judged
from luthier.studying.plan import Plan
from luthier.studying.spending import Budget
from luthier.studying.standing import Goal
from luthier.studying.store import Store
from luthier.trials.history import Rung
from luthier.trials.space import Space
from tests.runs import tiny_model, write_rows

RATE = "training.learning_rate"
SAID = {RATE: {"log": [1e-5, 1e-2]}, "method.rank": {"choice": [4, 8, 16]}}
PLAN = Plan(Space.of(SAID), (Goal("accuracy", True),), Random(), Asha(), horizon=9, eta=3)
TRIALS: list[tuple[dict[str, Any], list[float]]] = [
    ({RATE: 1e-4, "method.rank": "16"}, [0.5, 0.6, 0.7]),
    ({RATE: 1e-3, "method.rank": "8"}, [0.6, 0.7, 0.8]),
    ({RATE: 1e-2, "method.rank": "4"}, [0.3]),
]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def luthier_search(*arguments: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as left:
        main(["search", *map(str, arguments)])
    assert isinstance(left.value.code, int)
    return left.value.code


def made(folder: Path, trials: list[tuple[dict[str, Any], list[float]]] = TRIALS) -> Path:
    """A search of which these trials are judged, and a last one runs."""
    folder.mkdir()
    raw = {"model": "m", "data": "rows.csv", "task": "text-classification", "method": "lora", "output": str(folder)}
    (folder / "recipe.yaml").write_text(dump(check({**raw, "search": {"space": SAID}})))
    store = Store.create(url_of(None, folder), "search", PLAN, Budget(units=36))
    with store.lock.held():
        for number, (values, scores) in enumerate(trials):
            store.begin(values, 1, 0, "here/1")
            for resource, score in zip((1, 3, 9), scores, strict=False):
                if resource > 1:
                    store.claim(store.snapshot().entries[number], resource, "here/1")
                store.judged(number, "here/1", Judged(Rung(resource, (-score,), 2.0 * resource)))
        store.begin({RATE: 2e-3, "method.rank": "8"}, 1, 0, "here/1")
    store.close()
    return folder


def test_status_tells_trials_rungs_best_and_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert luthier_search("status", made(tmp_path / "found")) == 0
    told = capsys.readouterr().out
    assert "trials    4: 1 running, 1 paused, 2 done" in told
    assert "best      accuracy 0.800 of trial 1 after a full run: training.learning_rate 0.001, method.rank 8" in told
    assert "rungs     1/9: 3   3/9: 2   9/9: 2" in told
    assert "budget    2.22 of 4 full runs, 1.78 left" in told  # 9 + 9 + 1 + 1 units
    assert "running to 1/9" in told


def test_status_as_json_has_scores_as_people_know_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert luthier_search("status", made(tmp_path / "found"), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["budget"]["units"] == 36
    assert told["budget"]["units_used"] == 20
    assert [trial["state"] for trial in told["trials"]] == ["done", "done", "paused", "running"]
    second = told["trials"][1]
    assert second["scores"] == {"accuracy": 0.8}
    assert second["settings"] == {RATE: 1e-3, "method.rank": 8}
    assert [rung["resource"] for rung in second["rungs"]] == [1, 3, 9]


def test_best_stands_beside_the_recipe_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made(tmp_path / "found")
    assert luthier_search("best", folder) == 0
    told = capsys.readouterr().out
    assert "best      trial 1: accuracy 0.800 after 9/9 of a run, on the validation rows" in told
    assert "default   trial 0: accuracy 0.700 after 9/9 of a run, on the validation rows" in told
    assert luthier_search("best", folder, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["best"]["number"], told["default"]["number"], told["verdict"]) == (1, 0, None)


def test_export_writes_a_recipe_for_train_and_overwrites_nothing(tmp_path: Path) -> None:
    folder = made(tmp_path / "found")
    assert luthier_search("export", folder, "-o", "best.yaml") == 0
    found = read("best.yaml")
    assert found.search is None
    assert (found.training.learning_rate, found.method.model_dump()["rank"]) == (1e-3, 8)
    assert luthier_search("export", folder, "-o", "best.yaml") == 2


def test_a_winner_that_is_the_recipe_is_exported_as_it_stands(tmp_path: Path) -> None:
    folder = made(tmp_path / "found", [({RATE: 1e-4, "method.rank": "16"}, [0.5, 0.6, 0.7]), TRIALS[2]])
    assert luthier_search("export", folder, "-o", "best.yaml") == 0
    assert read("best.yaml").training.learning_rate == "auto"


def test_what_is_no_search_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("status", "best", "export"):
        assert luthier_search(command, tmp_path) == 2
        assert "holds no search; luthier search RECIPE begins one" in capsys.readouterr().err
    assert luthier_search("best", made(tmp_path / "found", [])) == 2
    assert "there is no winner" in capsys.readouterr().err
    assert luthier_search("recipe.yaml") == 2
    assert "there is no such recipe" in capsys.readouterr().err
    assert luthier_search("recipe.yaml", "--resume", "--overwrite") == 2
    assert "say one of them" in capsys.readouterr().err


def test_earlier_trials_are_those_whose_values_the_space_has(tmp_path: Path) -> None:
    folder = str(made(tmp_path / "found"))
    assert [trial.number for trial in earlier_trials([folder], PLAN)] == [0, 1, 2]
    narrow = Space.of({RATE: {"log": [1e-5, 1e-3]}, "method.rank": {"choice": [8, 16]}})
    assert [trial.number for trial in earlier_trials([folder], _plan(narrow))] == [0, 1]
    assert earlier_trials([folder], _plan(Space.of({RATE: {"log": [1e-5, 1e-3]}}))) == ()
    with pytest.raises(RecipeError, match="has other objectives, constraints, rungs or eta"):
        earlier_trials([folder], Plan(PLAN.space, PLAN.goals, Random(), Asha(), horizon=27, eta=3))


def _plan(space: Space) -> Plan:
    return Plan(space, PLAN.goals, Random(), Asha(), horizon=9, eta=3)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    said = {"epochs": 2, "batch_size": 8, "precision": "fp32", "device": "cpu"}
    raw = {
        "model": str(tiny_model(folder / "base")),
        "data": {"train": str(write_rows(folder / "rows.csv")), "validation": 0.2, "test": 0.2},
        "task": "text-classification",
        "method": "lora",
        "training": said,
        "search": {"space": SAID, "objectives": ["accuracy"], "scheduler": "asha", "sampler": "random"},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(raw))
    return path


@pytest.mark.slow
def test_a_search_runs_from_the_recipe_to_the_page_and_goes_on_with_more_budget(
    recipe: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = (recipe, "search.replicates=1", "--output", "found")
    assert luthier_search(*line, "--budget", "1.5 runs") == 0
    told = capfd.readouterr().out
    assert "judged    trial 0 after 1/9 of a run" in told
    assert "budget" in told
    assert "page      found/search.html" in told
    first = json.loads(Path("found/search.json").read_text())
    assert first["best"] is not None
    assert first["budget"]["units"] == 13
    assert first["verdict"]["split"] == "test"
    assert Run.open("found/winner-1").recipe.search is None
    assert "<svg" in Path("found/search.html").read_text()
    assert luthier_search(*line) == 2  # it is there
    assert "say --resume to go on" in capfd.readouterr().err

    asked, records = read(recipe, ["search.replicates=0", "output=found"]), list[Any]()
    found = luthier.search(asked, budget="2 runs", resume=True, on_record=records.append)
    assert isinstance(found, Found)
    assert found.recipe is not None
    assert found.recipe.search is None
    assert found.verdict is None
    assert found.conclusions
    assert records[-1]["event"] == "searched"
    second = json.loads(Path("found/search.json").read_text())
    assert second["budget"]["units"] == 18
    assert [trial["settings"] for trial in second["trials"][:3]] == [trial["settings"] for trial in first["trials"][:3]]
    assert look(Path("found"))[1].history == found.standing.history


def test_a_search_needs_validation_rows_and_a_folder_of_its_own(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="trials are judged by validation rows"):
        luthier.search(read(recipe, ["data.validation=null", f"output={tmp_path / 'found'}"]))
    with pytest.raises(LuthierError, match=r"less than 0\.11 of a run, the first rung"):
        luthier.search(read(recipe, [f"output={tmp_path / 'found'}"]), budget="1 steps")
    (tmp_path / "log.jsonl").touch()
    with pytest.raises(LuthierError, match="is a run, not a search"):
        luthier.search(read(recipe, [f"output={tmp_path}"]))
