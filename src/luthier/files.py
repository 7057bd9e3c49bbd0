"""Files that are whole or not there: written beside, flushed to the disk, then renamed into place.

A crash, a kill or a full disk at any instant leaves what was there before. No other module renames or syncs.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from luthier.errors import RunError

LOCK = ".lock"
"""The file in a folder that whoever writes there holds."""
JOURNAL = "journal.jsonl"
"""What is done of a folder that grows."""
CHUNK_BYTES = 2**20
"""Written and hashed at a time: small enough for a cache."""
TEMPORARY, DISCARDED = ".writing-", ".discarded-"
"""Beginnings of names that hold nothing of worth: a folder half written, a folder half removed."""
GROWING = ".growing-"
"""Beginning of the name of a folder that is written over more than one life of a process."""


@dataclass(frozen=True)
class Written:
    """A file as it was meant: its size in bytes and the SHA-256 of its content."""

    bytes: int
    sha256: str


def write_text(path: Path, text: str) -> None:
    """Replace a small text file at once."""
    beside = path.with_name(f"{TEMPORARY}{path.name}")
    write_chunks(beside, [text.encode("utf-8")])
    beside.replace(path)
    sync_folder(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Replace a JSON file at once."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def plain(content: Any) -> Any:
    """With null for what is no finite number, as JSON proper has no word for it."""
    if isinstance(content, Mapping):
        return {str(key): plain(each) for key, each in content.items()}
    if isinstance(content, list | tuple):
        return [plain(each) for each in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_chunks(path: Path, chunks: Iterable[bytes | memoryview]) -> Written:
    """Write a file and flush it to the disk, hashed on the way."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb", buffering=0) as file:
        for chunk in _cut(chunks):
            _write_all(file.fileno(), chunk)
            digest.update(chunk)
            size += len(chunk)
        os.fsync(file.fileno())
    return Written(size, digest.hexdigest())


def _write_all(descriptor: int, chunk: memoryview) -> None:
    while chunk:
        chunk = chunk[os.write(descriptor, chunk) :]


def _cut(chunks: Iterable[bytes | memoryview]) -> Iterator[memoryview]:
    for chunk in chunks:
        whole = memoryview(chunk)
        for start in range(0, len(whole), CHUNK_BYTES):
            yield whole[start : start + CHUNK_BYTES]


def read_back(path: Path) -> Written:
    """A file as it is."""
    with path.open("rb") as file:
        return Written(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder that appears whole under its name, or not at all; what stood there before goes once it is written."""
    beside = path.with_name(f"{TEMPORARY}{path.name}")
    discard(beside)
    beside.mkdir(parents=True)
    try:
        yield beside
        sync_tree(beside)
        _put(beside, path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


@contextlib.contextmanager
def growing_folder(path: Path, *, require_free: Callable[[], None]) -> Iterator[Path]:
    """The same, but what a kill or an interruption left half written is given again to the next who writes it.

    It is for him to find out what of it is good, by a file JOURNAL, which goes at the end; an error leaves nothing
    behind. `require_free` raises where the path may not be taken; asked again before it is. Raises RunError where
    another process writes it now.
    """
    beside, lock_path = path.with_name(f"{GROWING}{path.name}"), path.with_name(f"{GROWING}{path.name}{LOCK}")
    with lock_path.open("a+") as lock:
        take_lock(lock, path)
        if not lock_path.exists() or os.fstat(lock.fileno()).st_ino != lock_path.stat().st_ino:
            raise RunError(f"{path}: was just written by another process")
        try:
            require_free()
            beside.mkdir(exist_ok=True)
            yield beside
            sync_tree(beside)
            (beside / JOURNAL).unlink(missing_ok=True)
            require_free()
            _put(beside, path)
        except Exception:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        finally:
            if not beside.exists():
                lock_path.unlink(missing_ok=True)


def _put(beside: Path, path: Path) -> None:
    """A whole folder in the place of what was there, which is removed once it is."""
    away = path.with_name(f"{DISCARDED}{path.name}")
    shutil.rmtree(away, ignore_errors=True)
    if path.exists():
        path.replace(away)
    beside.replace(path)
    sync_folder(path.parent)
    shutil.rmtree(away, ignore_errors=True)


def take_lock(lock: IO[str], folder: Path) -> None:
    """Take the lock of a folder, an open file, at once or not at all; closing the file lets go of it.

    Raises RunError where another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # no POSIX: nothing to lock with
        return
    try:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "another one"
        raise RunError(f"{folder}: is in use by process {holder}; wait for it, or choose another output") from None
    except OSError:  # a file system without locks
        return
    os.ftruncate(lock.fileno(), 0)
    os.write(lock.fileno(), str(os.getpid()).encode())


@contextlib.contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """A folder, made where there is none, that no other process holds while this is open.

    Raises RunError where one does, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a+")
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror}; choose another output") from error
    with lock:
        take_lock(lock, folder)
        yield


def discard(folder: Path) -> None:
    """Remove a folder so that no half of it is ever taken for the whole."""
    if not folder.exists():
        return
    away = folder.with_name(f"{DISCARDED}{folder.name}")
    shutil.rmtree(away, ignore_errors=True)
    folder.replace(away)
    shutil.rmtree(away, ignore_errors=True)


def tidy(folder: Path) -> None:
    """Remove what an interrupted write or removal left behind."""
    for left in (*folder.glob(f"{TEMPORARY}*"), *folder.glob(f"{DISCARDED}*")):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def sync_tree(folder: Path) -> None:
    """Flush every file below, then every folder; what was synced as it was written costs nothing twice."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            sync_folder(path)
        else:
            _sync(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names, without which a renamed file may be lost with the power.

    Some network file systems, and Windows, cannot; there the rename is all there is.
    """
    try:
        _sync(folder)
    except OSError as error:
        if os.name != "nt" and error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
