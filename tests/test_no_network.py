"""No command asks the network for anything while model and data are on disk."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.runs import tiny_model, tiny_run, write_rows


@pytest.mark.usefixtures("processes_of_their_own")
def test_a_whole_run_opens_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the hub's client is not told that it is offline."""
    asked: list[Any] = []

    def refuse(*address: Any, **_: Any) -> NoReturn:
        asked.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    tiny_run(tmp_path, training={"epochs": 1, "batch_size": 8, "learning_rate": 5e-3})
    assert asked == []


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_a_whole_run_comes_to_its_end_where_there_is_no_network(tmp_path: Path) -> None:
    """Its self-check, a process of its own, too."""
    assert shutil.which("unshare"), "install util-linux"
    base, rows = tiny_model(tmp_path / "base"), write_rows(tmp_path / "rows.csv")
    options = ["--model", str(base), "--data", str(rows), "--task", "text-classification", "--output", "run"]
    command = ["unshare", "-rn", sys.executable, "-m", "luthier", "train", "training.epochs=1", *options]
    alone = {**os.environ, "HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=alone, cwd=tmp_path, capture_output=True, text=True)
    if "unshare failed" in done.stderr:
        pytest.skip("this machine allows no namespaces; the test above stands for it")
    assert done.returncode == 0, done.stderr
    assert "loaded again in a fresh process" in done.stdout
