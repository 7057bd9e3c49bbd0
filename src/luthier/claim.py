"""Taking a run's folder for one's own, to begin or to go on, while nobody else does.

The lock is the kernel's (flock), so a run that was killed leaves none behind, whatever its file says.
"""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from luthier import files
from luthier.errors import RunError
from luthier.run import Run

LOG = "log.jsonl"


@contextlib.contextmanager
def claimed(folder: str | Path, *, overwrite: bool = False, resume: bool = False) -> Iterator[Run]:
    """A run's folder, held until the context ends: as it was with `resume` where a run is there, else fresh.

    A run that broke before its first step makes room unasked. Raises RunError where the folder is in use, cannot be
    written, holds no run of ours, or holds one that is neither to be overwritten nor to be resumed.
    """
    path = Path(folder)
    _require_ours(path)
    with files.held_folder(path):
        files.tidy(path)
        run = Run(path)
        if not (resume and run.has_begun):
            if run.took_a_step and not overwrite:
                raise RunError(f"{folder}: exists; luthier resume {folder}, choose another output, or say --overwrite")
            _empty(path)
            run.log("started", id=uuid.uuid4().hex)
        yield run


def _require_ours(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: is a file; choose another output")
    if path.is_dir() and not (path / LOG).is_file() and {each.name for each in path.iterdir()} - {files.LOCK}:
        raise RunError(f"{path}: is no run of Luthier's, so it is not overwritten; choose another output")


def _empty(path: Path) -> None:
    """Should this be cut off, no model is left that could be taken for whole, and the log still says whose it is."""
    files.discard(path / "model")
    for each in sorted(path.iterdir(), key=lambda each: each.name == LOG):
        if each.is_dir():
            shutil.rmtree(each)
        elif each.name != files.LOCK:
            each.unlink()
