"""Entries on the ledger as a worker would book them, without any model."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from domain.model.ledger import CallOutcome, LedgerEntry
from domain.model.model import Tier
from domain.model.routing import Complexity, Decision, QualityPreference
from tests.support.live import PlayedWorker

DECISION = Decision(
    "test/model",
    Tier.STANDARD,
    Tier.PREMIUM,
    QualityPreference.BALANCED,
    Complexity.COMPLEX,
    "Nothing better.",
    ("test/other", "test/third"),
    Decimal("0.5"),
)


def an_entry(worker: PlayedWorker, cost: str = "0.25", task: int = 0, **values: Any) -> LedgerEntry:
    """A call of one of the execution's tasks: 10 tokens in, 5 out."""
    execution, whose = worker.claimed.execution, worker.claimed.tasks[task]
    given = {"outcome": CallOutcome.SUCCEEDED, "prompt_tokens": 10, "completion_tokens": 5, **values}
    return LedgerEntry(
        execution.tenant_id,
        execution.project_id,
        execution.team_id,
        execution.id,
        whose.id,
        whose.role_id,
        model="test/model",
        provider="test",
        attempt=1,
        cost=Decimal(cost),
        **given,
    )


async def book(worker: PlayedWorker, *entries: LedgerEntry) -> None:
    """Commit the entries; they are on the ledger then, and in the budgets."""
    await worker.write(ledger=list(entries))


def this_month() -> datetime:
    """The first moment of the present calendar month, in UTC."""
    return datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
