"""The lock under which a worker decides: one at a time reads the history, and says what it does next.

Beside an SQLite file it is the kernel's (flock); on PostgreSQL it is an advisory lock of a connection of its own. The
death of its holder lets go of either.
"""

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from luthier.errors import RunError

PATIENCE_S = 600
"""Longer than anybody decides; whoever holds a lock of a server for longer hangs."""


class Lock(ABC):
    """Held by one process at most, and there by one thread."""

    def __init__(self) -> None:
        self.is_held = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Wait for it, and hold it while open."""
        assert not self.is_held, "the lock of a search is not taken twice"
        self._take()
        self.is_held = True
        try:
            yield
        finally:
            self.is_held = False
            self._release()

    @abstractmethod
    def _take(self) -> None: ...

    @abstractmethod
    def _release(self) -> None: ...


class FileLock(Lock):
    """The kernel's lock of a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file: IO[str] | None = None

    def _take(self) -> None:
        try:
            import fcntl

            self._file = self._path.open("a")
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX)
        except (ImportError, OSError) as error:
            where = f"{self._path}: cannot be locked: {error}"
            raise RunError(f"{where}; choose another output, or say search.storage: postgresql://...") from error

    def _release(self) -> None:
        assert self._file is not None
        self._file.close()


class ServerLock(Lock):
    """PostgreSQL's advisory lock of a name; it is the connection's, so it ends with the process."""

    def __init__(self, engine: Any, name: str) -> None:
        super().__init__()
        self._engine, self._connection = engine.execution_options(isolation_level="AUTOCOMMIT"), None
        self._key = int.from_bytes(hashlib.sha256(f"luthier search {name}".encode()).digest()[:8], signed=True)

    def _take(self) -> None:
        from sqlalchemy import text
        from sqlalchemy.exc import OperationalError

        self._connection = connection = self._engine.connect()
        try:
            connection.execute(text(f"SET lock_timeout = '{PATIENCE_S}s'"))
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": self._key})
        except OperationalError as error:
            connection.invalidate()
            raise RunError(f"the search's lock is not to be had: {str(error.orig).strip()}") from error
        except BaseException:  # a signal, perhaps with the lock in hand
            connection.invalidate()
            raise

    def _release(self) -> None:
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        connection: Any = self._connection
        self._connection = None
        try:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": self._key})
        except SQLAlchemyError:  # the server is gone, and its locks with it
            connection.invalidate()
        connection.close()
