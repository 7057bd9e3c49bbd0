"""Taking a run's folder for one's own, to begin or to go on, while nobody else does.

The lock is the kernel's (flock), so a run that was killed leaves none behind, whatever its file says.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from luthier import files
from luthier.errors import RunError
from luthier.run import Run

LOCK, LOG = ".lock", "log.jsonl"


@contextlib.contextmanager
def claimed(folder: str | Path, *, overwrite: bool = False, resume: bool = False) -> Iterator[Run]:
    """A run's folder, held until the context ends: as it was with `resume` where a run is there, else fresh.

    A run that broke before its first step makes room unasked. Raises RunError where the folder is in use, cannot be
    written, holds no run of ours, or holds one that is neither to be overwritten nor to be resumed.
    """
    path = Path(folder)
    _require_ours(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("a+")
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror}; choose another output") from error
    with lock:
        _lock(lock.fileno(), path)
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
    if path.is_dir() and not (path / LOG).is_file() and {each.name for each in path.iterdir()} - {LOCK}:
        raise RunError(f"{path}: is no run of Luthier's, so it is not overwritten; choose another output")


def _lock(descriptor: int, path: Path) -> None:
    """Take the lock at once or not at all."""
    try:
        import fcntl
    except ImportError:  # no POSIX: nothing to lock with
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = (path / LOCK).read_text().strip() or "another one"
        raise RunError(f"{path}: is in use by process {holder}; wait for it, or choose another output") from None
    except OSError:  # a file system without locks
        return
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())


def _empty(path: Path) -> None:
    """Should this be cut off, no model is left that could be taken for whole, and the log still says whose it is."""
    files.discard(path / "model")
    for each in sorted(path.iterdir(), key=lambda each: each.name == LOG):
        if each.is_dir():
            shutil.rmtree(each)
        elif each.name != LOCK:
            each.unlink()
