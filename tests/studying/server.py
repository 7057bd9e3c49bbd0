"""A PostgreSQL server of the tests' own: in a temporary folder, reached by a socket there, gone afterwards."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
IS_REQUIRED = "LUTHIER_NEEDS_POSTGRES" in os.environ
"""Where .ci/run installs it, nothing is skipped."""


class Server:
    """A server that runs."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._bin = folder, BINARIES[-1].parent

    def schema(self, name: str) -> str:
        """Room for new tables; -> its URL."""
        where = ("-h", str(self._folder), "-U", "luthier", "-d", "postgres")
        self.run("psql", "-q", *where, "-c", f"CREATE SCHEMA {name}")
        return f"postgresql://luthier@/postgres?host={self._folder}&options=-csearch_path%3D{name}"

    def run(self, command: str, *arguments: str) -> None:
        # The server refuses to run as root.
        who: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
        done = subprocess.run(
            [self._bin / command, *arguments], cwd=self._folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **who
        )
        assert done.returncode == 0, done.stdout.decode()


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server while open; without its writes being flushed, as no power is cut in tests."""
    folder = Path(tempfile.mkdtemp(prefix="luthier-postgres-"))  # sockets want short paths, and root's are closed
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    server, data, log = Server(folder), str(folder / "data"), str(folder / "log")
    how = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
    try:
        server.run("initdb", "-D", data, "-U", "luthier", "-A", "trust", "--no-sync")
        server.run("pg_ctl", "-D", data, "-l", log, "-o", how, "-w", "start")
        try:
            yield server
        finally:
            server.run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
