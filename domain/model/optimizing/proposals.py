"""Proposals of what could change in a team, and the situation that they are drawn from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from domain.errors import FailureCode
from domain.model.history import ENOUGH_EXECUTIONS, RoleHistory, TaskHistory, TeamHistory
from domain.model.optimization import Evidence, ExpectedEffect, FieldChange, Metric, OptimizationKind
from domain.model.optimizing.model_choices import ModelChoices
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.routing import Offer
from domain.model.task import Task

GOOD: Final = 0.9
"""From this share of completed tasks on, a role or a model does its work well."""

OFTEN: Final = 0.5


@dataclass(frozen=True, slots=True)
class Proposal:
    """One change, or several that belong together, and what speaks for it.

    `cost_ratio` is what the work would cost by what it does, where another model is proposed for less.
    """

    kind: OptimizationKind
    title: str
    explanation: str
    evidence: Sequence[Evidence]
    effects: Sequence[ExpectedEffect]
    changes: Sequence[FieldChange]
    cost_ratio: float = 1.0

    @property
    def weight(self) -> float:
        """The most that is expected of what it is for; for an order."""
        return max((max(abs(effect.low), abs(effect.high)) for effect in self.effects[:1]), default=0.0)

    @property
    def fields(self) -> frozenset[tuple[object, str]]:
        return frozenset((change.id, change.field) for change in self.changes)


@dataclass(frozen=True, slots=True)
class Situation:
    """A team, what became of its executions, and the models that can be had."""

    snapshot: TeamSnapshot
    history: TeamHistory
    choices: ModelChoices

    @classmethod
    def of(
        cls, snapshot: TeamSnapshot, history: TeamHistory, offers: Sequence[Offer], default_model: str | None = None
    ) -> "Situation":
        return cls(snapshot, history, ModelChoices(snapshot, history, offers, default_model))

    @property
    def roles(self) -> list[tuple[Role, RoleHistory]]:
        """The active roles that finished enough to say something."""
        found = [(role, self.history.of_role(role.id)) for role in self.snapshot.roles if role.is_active]
        return [(role, own) for role, own in found if own and own.completed + own.failed >= ENOUGH_EXECUTIONS]

    @property
    def tasks(self) -> list[tuple[Task, TaskHistory]]:
        """The tasks that were finished often enough."""
        found = [(task, self.history.of_task(task.id)) for task in self.snapshot.tasks]
        return [(task, own) for task, own in found if own and own.finished >= ENOUGH_EXECUTIONS]

    def share(self, cost: Decimal) -> float:
        """Such a cost as a share of what the whole team spent."""
        spent = max(sum((role.total_cost for role in self.history.roles), Decimal(0)), cost)
        return float(cost / spent) if spent else 0.0

    def is_mostly(self, codes: Iterable[FailureCode]) -> bool:
        """Whether half of the failed executions or more failed for one of these reasons."""
        found = sum(self.history.failures.get(code.value, 0) for code in codes)
        return found > 0 and found >= OFTEN * self.history.failed


# ---------------------------------------------------------------- figures and words


def is_good(completed: int, failed: int) -> bool:
    """Whether so few failed that the work is done well."""
    return completed >= GOOD * (completed + failed)


def effect(metric: Metric, one: float, other: float) -> ExpectedEffect:
    """From the lower to the higher of both."""
    low, high = sorted((one, other))
    return ExpectedEffect(metric, round(low, 4), round(high, 4))


def of_tasks(name: str, completed: int, failed: int) -> Evidence:
    """How many of the tasks of this name, or of this role, were completed."""
    finished = completed + failed
    return Evidence(f"“{name}”: {completed} of {finished} tasks were completed.", completed / finished)


def of_failures(history: TeamHistory) -> Evidence:
    """Why executions failed."""
    shown = ", ".join(f"{code} {count}" for code, count in sorted(history.failures.items()))
    return Evidence(f"{history.failed} of {history.finished} executions failed: {shown}.", history.failed)
