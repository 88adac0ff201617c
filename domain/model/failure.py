"""Why a run failed, as data that is kept with an execution or a task execution."""

from dataclasses import dataclass

from domain.errors import FailureCode
from domain.model.budget import Shortfall


@dataclass(frozen=True, slots=True)
class Failure:
    """A typed reason and a message fit for a user."""

    code: FailureCode
    message: str
    budget: Shortfall | None = None
    """What was missing, for BUDGET_EXCEEDED."""
