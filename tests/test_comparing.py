"""A comparison: variants of one recipe, each a run of its own, ranked with what the rows can tell apart."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from luthier.comparing import pace
from luthier.comparing.compare import compare
from luthier.comparing.outcome import Outcome
from luthier.comparing.variants import OF_CLASSES, USUAL, variants
from luthier.comparing.words import conclusions
from luthier.errors import DataError, RecipeError, RunError
from luthier.evaluation.score import Score
from luthier.recipe import Recipe, check, dump
from luthier.run import Run
from tests.runs import tiny_model, write_rows

HEAD = {"method": {"kind": "partial", "train": ["head"]}}


def recipe(folder: Path, compared: dict[str, Any] | None = None) -> Recipe:
    said = {"epochs": 8, "batch_size": 8, "learning_rate": 5e-3, "precision": "fp32", "seed": 1}
    raw = {
        "model": str(tiny_model(folder / "base")),
        "data": {"train": str(write_rows(folder / "rows.csv")), "test": 0.2},
        "task": "text-classification",
        "training": said,
        "output": str(folder / "compared"),
        "compare": compared,
    }
    return check(raw)


@pytest.mark.slow
@pytest.mark.usefixtures("runs_by_a_fork")
def test_variants_are_ranked_and_what_is_refused_is_told(tmp_path: Path) -> None:
    made = recipe(
        tmp_path,
        {"head": HEAD, "full": {"method": "full"}, "odd": {"method.kind": "partial", "method.train": ["nothing"]}},
    )
    records = list(compare(made))
    assert [r["name"] for r in records if r["event"] == "variant"] == ["head", "full", "odd"]
    (refused,) = [r for r in records if r["event"] == "refused"]
    assert refused["name"] == "odd"
    assert "method.train: no layer is called nothing" in refused["reason"]

    best, other = records[-1]["ranking"]
    assert (best.name, other.name) == ("full", "head")
    assert best.num_trainable == best.num_parameters > other.num_trainable == 3 * 32 + 3
    assert best.file_bytes > other.file_bytes > 4 * other.num_trainable
    assert best.num_steps == other.num_steps
    assert other.behind is not None
    assert other.behind.value == pytest.approx(other.score.value - best.score.value)
    for each in (best, other):  # as the run itself says
        own = Run.open(tmp_path / "compared" / each.name).metrics["test"][each.metric]
        assert each.score.value == own["value"]

    kept = json.loads((tmp_path / "compared" / "compare.json").read_text())
    assert [each["name"] for each in kept["variants"]] == ["full", "head"]
    page = (tmp_path / "compared" / "compare.html").read_text()
    assert all(words in page for words in ("full is best", "Not compared", "<svg"))

    with pytest.raises(RunError, match="say --resume to go on"):
        list(compare(made))
    done = (tmp_path / "compared" / "full" / "log.jsonl").read_bytes()
    again = list(compare(made, resume=True))
    assert (tmp_path / "compared" / "full" / "log.jsonl").read_bytes() == done
    assert again[-1]["ranking"] == records[-1]["ranking"]


def test_as_many_steps_are_taken_as_fit_the_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe(tmp_path, {"head": HEAD})
    for of_a_step, seconds, expected in (((0.2, 0.3), 5.0, 20), ((9.0, 9.0), 5.0, 1)):
        monkeypatch.setattr(pace, "measure", lambda *_, told=of_a_step: told)
        training = pace.within(variants(made)["head"], seconds).training
        assert (training.steps, training.epochs) == (expected, None)


def test_without_a_list_the_usual_methods_are_compared(tmp_path: Path) -> None:
    found = variants(recipe(tmp_path))
    assert list(found) == [*USUAL, *OF_CLASSES]
    assert found["bitfit"].method.model_dump()["train"] == ("bias", "head")
    assert found["lora"].output.endswith("compared/lora")
    assert all(variant.compare is None for variant in found.values())


def test_a_variants_mistake_is_told_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"compare\.small: method\.rnk: unknown setting of method; did you mean rank"):
        variants(recipe(tmp_path, {"small": {"method.kind": "lora", "method.rnk": 4}}))
    with pytest.raises(RecipeError, match="is to be the name of a folder"):
        variants(recipe(tmp_path, {"../up": HEAD}))


def test_what_follows_names_the_best_its_equals_and_the_cheapest_of_them() -> None:
    def made(name: str, value: float, behind: Score | None, **cost: Any) -> Outcome:
        figures = {"num_trainable": 100, "peak_bytes": 2_000_000_000, "duration_s": 10.0, **cost}
        score = Score(value, value - 0.02, value + 0.02)
        return Outcome(
            name, "accuracy", "test", score, num_parameters=1000, file_bytes=1, num_steps=5, behind=behind, **figures
        )

    ranking = [
        made("full", 0.9, None),
        made("lora", 0.89, Score(-0.01, -0.03, 0.01), num_trainable=10, duration_s=8.0),
        made("head", 0.7, Score(-0.2, -0.25, -0.15), num_trainable=1),
    ]
    assert conclusions(ranking, 500) == [
        "full is best: accuracy 0.900 [0.880, 0.920] on 500 test rows.",
        "These rows cannot tell lora from it (95 % interval of the paired difference).",
        "Of all these lora learns the least (10 parameters), is the quickest (8 s); "
        "full takes the least memory (2.0 GB).",
        "Behind, beyond chance: head by 0.200.",
    ]


def test_missing_rows_are_told_once_before_anything_is_begun(tmp_path: Path) -> None:
    made = recipe(tmp_path, {"full": {"method": "full"}, "head": HEAD})
    (tmp_path / "rows.csv").write_text("text,label\n")
    with pytest.raises(DataError):
        list(compare(made))
    assert not (tmp_path / "compared").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("runs_by_a_fork")
def test_a_signal_stops_the_variant_at_a_steps_end_and_the_comparison_goes_on(tmp_path: Path) -> None:
    made = recipe(tmp_path, {"full": {"method": "full", "training.epochs": 300}, "head": HEAD})
    (tmp_path / "compare.yaml").write_text(dump(made))
    command = [sys.executable, "-m", "luthier", "compare", str(tmp_path / "compare.yaml")]
    log = tmp_path / "compared" / "full" / "log.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (log.is_file() and '"event": "step"' in log.read_text()):
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped in full" in told
    assert list((tmp_path / "compared" / "full" / "checkpoints").glob("step-*"))
    short = made.changed({"compare": {"head": HEAD}}, where="test")
    assert [each.name for each in list(compare(short, resume=True))[-1]["ranking"]] == ["head"]
