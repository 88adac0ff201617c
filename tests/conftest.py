"""Fixtures of all tests: a migrated database of one's own, connections to it, and the API over it."""

import itertools
import os
from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest

from app.migrations import migrate
from app.settings import Settings
from domain.crew.operator_models import KEY_VARIABLES
from persistence.engine import Database
from tests.support.graphql import Graph
from tests.support.postgres import DatabaseServer, database_server  # noqa: F401 - a fixture

_numbers = itertools.count()

# How long an example takes says how busy the machine is, not whether the rule holds.
hypothesis.settings.register_profile("regatta", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("regatta")

# Nothing that whoever runs the tests traces elsewhere is to get spans of ours.
for _name in [name for name in os.environ if name.startswith("OTEL_")]:
    os.environ.pop(_name)

# Work is routed to whatever provider has a key: those of whoever runs the tests must not be among them.
for _name in {"OPENAI_BASE_URL", "OPENAI_API_BASE", "OLLAMA_API_BASE", *itertools.chain(*KEY_VARIABLES.values())}:
    os.environ.pop(_name, None)


@pytest.fixture
def database_url(database_server: DatabaseServer) -> Iterator[str]:  # noqa: F811 - pytest's way
    """The URL of a migrated, empty database that this test alone uses."""
    database_server.make_template(migrate)
    name = f"test_{os.getpid()}_{next(_numbers)}"
    yield database_server.clone_database(name)
    database_server.drop_database(name)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Connections to the test's own database."""
    opened = await Database.connect(database_url, name="test", pool_size=5)
    yield opened
    await opened.close()


@pytest.fixture
def settings(database_url: str) -> Settings:
    """Settings of an API on the test's own database; hints stay in the process."""
    return Settings(database_url=database_url, broadcast_url="memory://", pool_size=5)


@pytest.fixture
async def graph(settings: Settings) -> AsyncIterator[Graph]:
    """The API in this process, as a client sees it. No worker: executions stay QUEUED."""
    from app.main import create_app  # noqa: PLC0415 - half a second, and most tests need no API

    async with Graph.over(create_app(settings)) as opened:
        yield opened
