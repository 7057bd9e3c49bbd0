"""Where the tests of a search store it."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.studying import server
from tests.studying.server import Server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    if not server.BINARIES and not server.IS_REQUIRED:
        pytest.skip("no PostgreSQL server is installed here")
    with server.running() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A storage that holds nothing yet, as a recipe says it: each test runs on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'search.db'}"
    running: Server = request.getfixturevalue("postgres")
    return running.schema(f"s{uuid.uuid4().hex}")
