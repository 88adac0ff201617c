"""The API on a real port: a websocket needs one."""

from collections.abc import AsyncIterator

import pytest

from app.main import create_app
from app.settings import Settings
from tests.support.graphql import Graph
from tests.support.live import served


@pytest.fixture
async def live(settings: Settings) -> AsyncIterator[Graph]:
    async with served(create_app(settings)) as graph:
        yield graph
