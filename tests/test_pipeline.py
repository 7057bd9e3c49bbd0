"""The straight line, from files to a folder that others can open."""

import json
from pathlib import Path

import pytest
from transformers import pipeline

import luthier
from luthier.claim import claimed
from luthier.errors import RunError, SelfCheckError
from luthier.run import Record, Run
from tests.runs import tiny_model, tiny_run, write_rows

METHODS = ["full", {"kind": "partial", "train": ["last-1", "head"]}, {"kind": "lora", "rank": 4}]


@pytest.fixture(scope="module", params=METHODS, ids=["full", "partial", "lora"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Record]]:
    learning_rate = 1e-2 if "rank" in request.param else 5e-3
    training = {"epochs": 12, "batch_size": 8, "learning_rate": learning_rate, "precision": "fp32", "seed": 1}
    return tiny_run(tmp_path_factory.mktemp("run"), method=request.param, training=training)


def test_a_run_learns_the_task_and_tells_its_scores_with_intervals(finished: tuple[Run, list[Record]]) -> None:
    run, _ = finished
    assert run.metrics.keys() == {"train", "validation", "test"}
    accuracy = run.metrics["test"]["accuracy"]
    assert accuracy["value"] > 0.5  # chance is a third
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]


def test_a_run_keeps_the_contract_of_its_folder(finished: tuple[Run, list[Record]]) -> None:
    run, records = finished
    there = {path.name for path in run.folder.iterdir()}
    files = {"recipe.yaml", "environment.json", "log.jsonl", "metrics.json", "report.html", "README.md"}
    assert files | {"model", "predictions"} <= there
    assert run.adapter_folder.is_dir() == run.recipe.method.keeps_apart
    assert run.records[0]["event"] == "started"
    assert run.records[1:] == json.loads(json.dumps([r for r in records if r["event"] != "progress"]))


def test_a_model_can_be_scored_before_it_learns(tmp_path: Path) -> None:
    asked = {"epochs": 4, "batch_size": 8, "learning_rate": 5e-3, "precision": "fp32", "seed": 1, "score_before": True}
    run, _ = tiny_run(tmp_path, training=asked)
    assert list(run.metrics) == ["before", "train", "validation", "test"]
    assert run.metrics["before"].keys() == run.metrics["test"].keys()
    assert run.metrics["before"]["loss"]["value"] > run.metrics["test"]["loss"]["value"]
    scored = [record["split"] for record in run.records if record["event"] == "score"]
    assert scored == ["before", "train", "validation", "test"]
    assert "<small>18 rows</small>" in (run.folder / "report.html").read_text()
    assert "| metric | train | before | validation | test |" in (run.folder / "README.md").read_text()


def test_the_log_tells_the_line_in_its_order(finished: tuple[Run, list[Record]]) -> None:
    told = (record["event"] for record in finished[1])
    events = list(dict.fromkeys(event for event in told if event != "cache"))  # where a frozen part is served
    order = ["data", "model", "tokens", "begins", "progress", "step", "evaluation", "checkpoint", "trained", "score"]
    order += ["saved", "self-check", "done"]
    assert [event for event in order if event in events] == order
    assert sorted(events, key=order.index)[-4:] == events[-4:]


def test_transformers_pipeline_answers_as_the_run_does(finished: tuple[Run, list[Record]]) -> None:
    run, _ = finished
    texts = ["w0 w0 w10", "w1 w1 w12", "w2 w2 w30 w11"]
    theirs = pipeline("text-classification", model=str(run.model_folder), device="cpu")(texts)
    ours = luthier.load(run.folder).predict(texts)
    assert [answer["label"] for answer in theirs] == [answer["label"] for answer in ours]
    assert [answer["score"] for answer in theirs] == pytest.approx([answer["score"] for answer in ours], abs=1e-6)


def test_running_the_resolved_recipe_again_repeats_the_run(finished: tuple[Run, list[Record]], tmp_path: Path) -> None:
    run, _ = finished
    again = luthier.train(run.recipe.model_copy(update={"output": str(tmp_path / "again")}))
    assert (again.model_folder / "model.safetensors").read_bytes() == (
        run.model_folder / "model.safetensors"
    ).read_bytes()
    assert again.recipe.model_copy(update={"output": run.recipe.output}) == run.recipe


def test_a_saved_model_that_was_changed_fails_the_self_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.methods.full import Full

    def spoil(self: Full, model: object) -> None:
        model.classifier.bias.data[0] += 1.0  # type: ignore[attr-defined]

    monkeypatch.setattr(Full, "fold", spoil)
    with pytest.raises(SelfCheckError, match="differs from the trained one"):
        tiny_run(tmp_path)
    with pytest.raises(RunError, match="failed its self-check"):
        luthier.load(tmp_path / "run")


def test_a_run_that_took_a_step_is_not_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").write_text('{"event": "step"}\n')
    with pytest.raises(RunError, match="--overwrite"), claimed(tmp_path / "run"):
        pass
    with claimed(tmp_path / "run", overwrite=True) as run:
        assert [record["event"] for record in run.records] == ["started"]


def test_a_folder_that_is_no_run_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(RunError, match="is no run"), claimed(tmp_path, overwrite=True):
        pass
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_run_that_broke_before_its_first_step_makes_room(tmp_path: Path) -> None:
    data = {"train": str(write_rows(tmp_path / "rows.csv")), "columns": {"label": "colour"}}
    base = str(tiny_model(tmp_path / "base"))
    settings = {"model": base, "task": "text-classification", "output": tmp_path / "run"}
    with pytest.raises(luthier.LuthierError, match="no column colour"):
        luthier.tune(data=data, **settings)
    with pytest.raises(luthier.LuthierError, match="no column colour"):
        luthier.tune(data=data, **settings)


def test_a_killed_run_is_not_taken_for_a_finished_one(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"event": "step"}\n')
    (tmp_path / "recipe.yaml").write_text("")
    with pytest.raises(RunError, match="did not come to its end"):
        luthier.load(tmp_path)


def test_a_base_held_in_bf16_trains_saves_and_answers(tmp_path: Path) -> None:
    model = {"name": str(tiny_model(tmp_path / "base")), "dtype": "bfloat16"}
    _, records = tiny_run(tmp_path, method="lora", model=model, training={"steps": 2, "precision": "bf16"})
    assert [record["passed"] for record in records if record["event"] == "self-check"] == [True]
    with pytest.raises(luthier.LuthierError, match="bfloat16 needs"):
        tiny_run(tmp_path, model=model, training={"steps": 2, "precision": "fp32"}, output=tmp_path / "other")
