"""The API of these tests: a name of a megabyte has to reach it, to be refused by a rule and not by a limit."""

import pytest

from app.settings import Settings


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url, broadcast_url="memory://", pool_size=5, max_request_bytes=4_000_000)
