"""A save that is killed, or that the disk refuses, at each of its system calls: what was whole stays whole.

After `strace`'s fault injection; a saver that writes in place must fail the same harness.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.training.saver import BEGIN, END, arrays, store

CALLS = "openat,mkdir,write,fsync,rename,renameat,renameat2,unlink,unlinkat,rmdir,stat,newfstatat,statfs"
CHANGING = ("mkdir", "write", "fsync", "rename", "unlinkat", "rmdir")
REPEATABLE = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
"""Every start makes the same calls."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace is Linux's")


def traced(folder: Path, *inject: str, naive: bool = False) -> subprocess.CompletedProcess[str]:
    """Save step 2 beside step 1, under strace."""
    assert shutil.which("strace"), "these tests need strace: apt-get install strace"
    program = [sys.executable, "-m", "tests.training.saver", str(folder), "2", *(["naive"] if naive else [])]
    command = ["strace", "-f", "-e", f"trace={CALLS}", *inject, "-o", f"{folder}.trace", *program]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **REPEATABLE})


def fresh(folder: Path) -> Path:
    """Step 1 alone."""
    shutil.rmtree(folder, ignore_errors=True)
    store(folder).save(1, arrays(1), {"step": 1})
    return folder


@cache
def points(folder: Path, *, naive: bool = False) -> tuple[tuple[str, int], ...]:
    """Each call between the marks: its name, and the how-manieth of its name it is in the main thread."""
    assert traced(fresh(folder), naive=naive).returncode == 0
    lines = [line.split(maxsplit=1) for line in Path(f"{folder}.trace").read_text().splitlines()]
    main = lines[0][0]
    seen: Counter[str] = Counter()
    found, inside = [], False
    for thread, call in lines:
        name = re.match(r"\w+\(", call)
        if thread != main or name is None:
            continue
        seen[name[0][:-1]] += 1
        inside = (inside or BEGIN in call) and END not in call
        if inside and BEGIN not in call:
            found.append((name[0][:-1], seen[name[0][:-1]]))
    return tuple(found)


def is_whole(folder: Path) -> bool:
    """A start after the fault finds a checkpoint, all of one step, and can save the next."""
    found, _ = store(folder).newest()
    if found is None or {found.content["step"], *_values(found.folder)} != {found.step}:
        return False
    again = store(folder)
    again.tidy()
    again.save(3, arrays(3), {"step": 3})
    return [path.name for path in folder.iterdir()] == ["step-3"]


def is_whole_naively(folder: Path) -> bool:
    """The highest number is trusted, as most do."""
    newest = max(folder.glob("step-*"), key=lambda path: path.name)
    try:
        return {*_values(newest)} == {int(newest.name[-1])}
    except Exception:
        return False


def _values(folder: Path) -> Iterator[int]:
    for name in ("learnt", "optimizer"):
        yield from load_file(folder / f"{name}.safetensors")["weight"].tolist()


def test_a_save_killed_at_any_system_call_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    found = points(folder)
    assert len(found) > 50
    for name, number in found:
        done = traced(fresh(folder), "-e", f"inject={name}:signal=KILL:when={number}")
        assert done.returncode == -9 or "KILL" in Path(f"{folder}.trace").read_text(), (name, number)
        assert is_whole(folder), (name, number)


def test_the_harness_sees_what_a_saver_in_place_loses(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    lost = 0
    for name, number in points(folder, naive=True):
        traced(fresh(folder), "-e", f"inject={name}:signal=KILL:when={number}", naive=True)
        lost += not is_whole_naively(folder)
    assert lost > 5


@pytest.mark.parametrize(("error", "told"), [("ENOSPC", "No space left"), ("EIO", "Input/output error")])
def test_a_disk_that_refuses_is_told_and_the_last_checkpoint_stays(error: str, told: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for name, number in points(folder):
        if name not in CHANGING:
            continue
        done = traced(fresh(folder), "-e", f"inject={name}:error={error}:when={number}")
        if done.returncode:  # a removal that fails may be passed over; a save never
            assert done.stderr.startswith("told: "), (name, number, done.stderr)
            assert told in done.stderr
            assert "Traceback" not in done.stderr
        assert is_whole(folder), (name, number)
        if name in ("write", "fsync", "rename") and done.returncode == 0:
            assert name == "rename"


def test_a_full_file_system_keeps_what_was_whole(tmp_path: Path) -> None:
    """Room for one checkpoint and a little more."""
    script = f"""
mount -t tmpfs -o size=1048k none {tmp_path}; cd {Path(__file__).parents[2]}
{sys.executable} -m tests.training.saver {tmp_path}/checkpoints 1 ; ls -A {tmp_path}/checkpoints
{sys.executable} -m tests.training.saver {tmp_path}/checkpoints 2; ls -A {tmp_path}/checkpoints"""
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["step-1", "step-1"], done.stderr
    assert "make room" in done.stderr
    assert "step-1 is whole" in done.stderr
