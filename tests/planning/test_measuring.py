"""The time of a step, from real ones."""

import json
from pathlib import Path

import pytest

from luthier.cli import main
from tests.runs import tiny_model, write_rows


def test_measured_steps_give_the_time_of_a_run_and_leave_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, rows = tiny_model(tmp_path / "base"), write_rows(tmp_path / "rows.csv")
    before = sorted(tmp_path.rglob("*"))
    asked = ["--model", str(model), "--data", str(rows), "--task", "text-classification", "--measure", "--no-compare"]
    with pytest.raises(SystemExit, match="0"):
        main(["plan", "training.batch_size=8", "training.epochs=2", *asked, "--json"])
    told = json.loads(capsys.readouterr().out)
    least, most = told["seconds_per_step"]
    assert 0 < least <= most
    assert told["steps"] == 2 * 11  # 81 rows in batches of eight, as a tenth is held out
    assert sorted(tmp_path.rglob("*")) == before
