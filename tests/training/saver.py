"""A program that saves checkpoints of plain bytes, for faults to be injected: `saver.py FOLDER STEP [naive]`.

It imports no torch, so that a hundred starts are quick. `naive` writes in place and keeps no manifest, as most do.
"""

import sys
from pathlib import Path

from luthier import files
from luthier.errors import RunError
from luthier.training import checkpoints
from luthier.training.checkpoints import Array, Checkpoints, _safetensors

BEGIN, END = "/begin-of-the-save", "/end-of-the-save"
"""Paths that are asked for around the save, to be found in a trace."""


class InTurn:
    """In place of a pool of threads, so that every start makes the same calls in the same order."""

    def __init__(self, _: int) -> None: ...

    def __enter__(self) -> "InTurn":
        return self

    def __exit__(self, *_: object) -> None: ...

    map = map


def arrays(step: int) -> dict[str, dict[str, Array]]:
    """Two files, filled with the step's number."""
    content = memoryview(bytes([step]) * 4096)
    return {name: {"weight": Array("U8", (4096,), content)} for name in ("learnt", "optimizer")}


def store(folder: Path) -> Checkpoints:
    return Checkpoints(folder, {"id": "this run"}, keep=1)


def save_naively(folder: Path, step: int) -> None:
    path = folder / f"step-{step}"
    path.mkdir(exist_ok=True)
    for old in sorted(folder.glob("step-*")):
        if old != path:
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
    for name, tensors in arrays(step).items():
        files.write_chunks(path / f"{name}.safetensors", _safetensors(tensors))


def main() -> None:
    folder, step = Path(sys.argv[1]), int(sys.argv[2])
    Path(BEGIN).exists()
    if "naive" in sys.argv:
        save_naively(folder, step)
    else:
        store(folder).save(step, arrays(step), {"step": step})
    Path(END).exists()


if __name__ == "__main__":
    checkpoints.ThreadPoolExecutor = InTurn  # type: ignore[assignment,misc]
    try:
        main()
    except RunError as error:
        sys.exit(f"told: {error}")
