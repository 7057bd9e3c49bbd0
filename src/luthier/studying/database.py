"""Where a search is stored: Optuna's tables, in an SQLite file or on a PostgreSQL server."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.errors import RunError, redacted
from luthier.extras import need, require
from luthier.studying.locks import FileLock, Lock, ServerLock

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

SQLITE, POSTGRES, DRIVER = "sqlite:///", "postgresql://", "postgresql+psycopg://"
HEARTBEAT_S, GRACE_S = 10, 120
"""How often a running trial gives a sign of life, and after how long without one it counts as left behind."""
BUSY_S = 120
"""How long a write to SQLite waits for another one."""
SCHEMA = "tables"
"""The lock of whoever makes Optuna's tables on a server."""


def optuna() -> Any:
    """The package, silent.

    Raises MissingExtra where it is not installed.
    """
    module = need("optuna", extra="search", needed_for="luthier search")
    module.logging.set_verbosity(module.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return module


def url_of(storage: str | None, folder: Path) -> str:
    """The storage as SQLAlchemy wants it; None: a file in the search's folder.

    Raises RunError where it is of a kind that is not served.
    """
    url = f"{SQLITE}{folder.resolve() / 'search.db'}" if storage is None else storage
    if url.startswith(("postgres://", POSTGRES)):
        url = DRIVER + url.partition("://")[2]
    if not url.startswith((SQLITE, DRIVER)):
        known = "sqlite:////folder/search.db or postgresql://user@host/database"
        raise RunError(f"search.storage: {redacted(url)} is of no known kind; say {known}, or leave it out")
    return url


class Database:
    """A storage of Optuna's and its lock, ready for use."""

    def __init__(self, url: str, name: str, *, may_create: bool) -> None:
        """`name` is the search's; with `may_create` what is missing is made.

        Raises RunError where there is no such file or server, or it holds tables of another version.
        """
        optuna()
        self.url, self.is_file = url, url.startswith(SQLITE)
        self.lock: Lock
        making: Lock
        if self.is_file:
            path = Path(url.removeprefix(SQLITE))
            if not may_create and not path.is_file():
                raise RunError(f"{path}: there is no search here; begin one with luthier search RECIPE")
            self.lock = making = FileLock(path.with_name(f"{path.name}.lock"))
        else:
            require("psycopg", extra="postgres", needed_for="a search stored on PostgreSQL")
            engine = _engine(url)
            self.lock, making = ServerLock(engine, name), ServerLock(engine, SCHEMA)
        with _told(url), making.held():
            self.storage = _storage(url)

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """A connection that sees one state of the tables."""
        with _told(self.url), self.storage.engine.connect() as connection:
            yield connection

    def close(self) -> None:
        self.storage.remove_session()
        self.storage.engine.dispose()


def _engine(url: str) -> Any:
    from sqlalchemy import create_engine, pool

    return create_engine(url, poolclass=pool.NullPool)


def _storage(url: str) -> "RDBStorage":
    from optuna.storages import RDBStorage
    from sqlalchemy import text

    is_file = url.startswith(SQLITE)
    settings: dict[str, Any] = {"connect_args": {"timeout": BUSY_S}} if is_file else {"pool_pre_ping": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that heartbeats are experimental
        storage = RDBStorage(
            url.replace("{", "{{").replace("}", "}}"),  # Optuna takes it for a template
            engine_kwargs=settings,
            heartbeat_interval=HEARTBEAT_S,
            grace_period=GRACE_S,
        )
    if is_file:
        with storage.engine.connect() as connection:  # readers and a writer are then in nobody's way
            connection.execute(text("PRAGMA journal_mode=WAL"))
    return storage


@contextmanager
def _told(url: str) -> Iterator[None]:
    """A database's own errors as ours."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError, ImportError) as error:
        reason = str(getattr(error, "orig", None) or error.__cause__ or error).strip().splitlines()
        raise RunError(
            f"{redacted(url)}: the search's storage cannot be used: {reason[0] if reason else error}"
        ) from error
    except RuntimeError as error:
        if "table schema" not in str(error):
            raise
        raise RunError(f"{redacted(url)}: was written by another version of Optuna. {error}") from error
