"""Telling other processes that there is something new to read."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import UUID


class Listener(Protocol):
    """Hears of one topic."""

    async def wait(self, timeout_seconds: float) -> bool:
        """True when hinted since the last wait, False when the time is over."""
        ...


class Hints(Protocol):
    """Tells other processes that there is something new to read. A hint may be lost; it carries no data.

    Topics: `execution:<uuid>`, `project:<uuid>`, `approvals:<tenant>`, `alerts:<tenant>`, `commands`, `waiting`,
    `generations`, `generation:<uuid>`.
    """

    async def publish(self, topics: Sequence[str]) -> None:
        """Never raises for a broken transport."""
        ...

    def listen(self, topic: str) -> AbstractContextManager[Listener]: ...


COMMANDS = "commands"
"""The topic on which workers hear that something is wanted of an execution that they have."""

WAITING = "waiting"
"""The topic on which workers hear that an execution waits for a place."""

GENERATIONS = "generations"
"""The topic on which workers hear that a generation waits, or was cancelled."""


def execution_topic(execution_id: UUID) -> str:
    return f"execution:{execution_id}"


def approvals_topic(tenant_id: UUID) -> str:
    return f"approvals:{tenant_id}"


def alerts_topic(tenant_id: UUID) -> str:
    return f"alerts:{tenant_id}"


def project_topic(project_id: UUID) -> str:
    return f"project:{project_id}"


def generation_topic(generation_id: UUID) -> str:
    return f"generation:{generation_id}"
