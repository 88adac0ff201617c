"""Time for tests of what has to end after a while: it passes when the test says so, however slow the machine is."""

import asyncio
from collections.abc import Callable

import pytest


@pytest.fixture
async def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds pass at once, for all that waits on the test's loop."""
    loop, passed = asyncio.get_running_loop(), [0.0]
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + passed[0])

    def passing(seconds: float) -> None:
        passed[0] += seconds

    return passing
