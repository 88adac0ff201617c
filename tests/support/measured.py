"""What metrics have to come to: everything that ended, read back row by row, and counted in plain Python."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

from domain.model.library import shipped_templates
from domain.model.metrics import Dimension, Durations, Figures, GroupOrder, MetricsScope, Subject, Tally

TOLERANCE = 0.02
"""How far a percentile may be off."""

MICROSECOND = 1e-6

OUTCOMES = {"COMPLETED": "completed", "SUCCEEDED": "completed", "FAILED": "failed", "LOST": "failed"}


@dataclass(frozen=True)
class Fact:
    """One thing that ended; durations in microseconds, None where it has none."""

    subject: Subject
    at: datetime
    outcome: str
    places: Mapping[Dimension, str]
    """Its key in each dimension that it is told of in."""
    repeated: int = 0
    micros: int | None = None
    wait: int | None = None
    tokens: tuple[int, int, int, int] = (0, 0, 0, 0)
    cost: Decimal = Decimal(0)

    def is_of(self, scope: MetricsScope) -> bool:
        inside = scope.within is None or self.is_of(scope.within)
        return inside and self.places.get(scope.dimension) == scope.key


async def facts_of(pool: Any, tenant_id: UUID) -> list[Fact]:
    """Everything of the tenant that ended."""
    rows = await _Rows.read(pool, tenant_id)
    return [*rows.executions(), *rows.tasks(), *rows.calls(), *rows.tool_calls()]


@dataclass
class _Rows:
    """A tenant's rows, by the name of the table."""

    tables: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    async def read(cls, pool: Any, tenant_id: UUID) -> "_Rows":
        rows = cls()
        for name in (
            *("execution", "task_execution", "ledger_entry", "execution_event", "approval"),
            *("team", "team_revision", "template_use", "template"),
        ):
            statement = f"SELECT * FROM {name} WHERE tenant_id = $1"  # noqa: S608 - our own names
            rows.tables[name] = await pool.fetch(statement, tenant_id)
        return rows

    def by_id(self, name: str) -> dict[UUID, Any]:
        return {row["id"]: row for row in self.tables[name]}

    def executions(self) -> Iterable[Fact]:
        for row in self.tables["execution"]:
            if row["finished_at"] is None:
                continue
            is_cached, has_begun = row["cached_from"] is not None, row["started_at"] is not None
            worked = waited = None
            if has_begun and not is_cached:
                away = round(row["waited_seconds"] * 1_000_000)
                worked = max(0, _micros(row["finished_at"] - row["started_at"]) - away)
                waited = _micros(row["started_at"] - row["created_at"])
            yield Fact(
                Subject.EXECUTION,
                row["finished_at"],
                OUTCOMES.get(row["status"], "cancelled"),
                self._places(row),
                int(is_cached),
                worked,
                waited,
            )

    def tasks(self) -> Iterable[Fact]:
        executions = self.by_id("execution")
        for row in self.tables["task_execution"]:
            is_over = row["started_at"] and row["finished_at"]
            if not is_over or row["status"] not in ("COMPLETED", "FAILED", "CANCELLED"):
                continue
            asked = sum(
                _micros(min(other["decided_at"] or row["finished_at"], row["finished_at"]) - other["created_at"])
                for other in self.tables["approval"]
                if other["task_execution_id"] == row["id"] and other["created_at"] < row["finished_at"]
            )
            yield Fact(
                Subject.TASK,
                row["finished_at"],
                OUTCOMES.get(row["status"], "cancelled"),
                self._places(executions[row["execution_id"]], row, row["model"]),
                max(0, row["attempts"] - 1),
                max(0, _micros(row["finished_at"] - row["started_at"]) - asked),
            )

    def calls(self) -> Iterable[Fact]:
        executions, tasks = self.by_id("execution"), self.by_id("task_execution")
        for row in self.tables["ledger_entry"]:
            run = executions.get(row["execution_id"])
            latency = row["latency_seconds"]
            yield Fact(
                Subject.CALL,
                row["booked_at"],
                OUTCOMES.get(row["outcome"], "cancelled"),
                self._places(run or row, tasks.get(row["task_execution_id"]), row["model"]),
                int(row["call_attempt"] > 1),
                None if latency is None else round(latency * 1_000_000),
                None,
                tuple(row[f"{kind}_tokens"] for kind in ("prompt", "completion", "cached", "reasoning")),
                row["cost"],
            )

    def tool_calls(self) -> Iterable[Fact]:
        executions, tasks = self.by_id("execution"), self.by_id("task_execution")
        for row in self.tables["execution_event"]:
            if row["type"] != "ToolReturned":
                continue
            payload = row["payload"]
            places = self._places(executions[row["execution_id"]], tasks[row["task_execution_id"]])
            outcome = "failed" if payload["is_error"] else "completed"
            yield Fact(Subject.TOOL_CALL, row["occurred_at"], outcome, {**places, Dimension.TOOL: payload["tool"]})

    def _places(self, run: Any, task: Any = None, model: str | None = None) -> dict[Dimension, str]:
        """`run` is an execution, or the ledger entry of a generation, which has neither strategy nor template."""
        found = {
            Dimension.TENANT: "",
            Dimension.PROJECT: run["project_id"],
            Dimension.TEAM: run["team_id"],
            Dimension.ROLE: task and task["role_id"],
            Dimension.TASK: task and task["task_id"],
            Dimension.MODEL: model,
        }
        if "revision_id" in run:
            found[Dimension.STRATEGY] = self._strategy(run)
            found[Dimension.TEMPLATE] = self._template(run["team_id"])
            found[Dimension.DOMAIN] = self._domains().get(str(found[Dimension.TEMPLATE]))
        return {dimension: str(key) for dimension, key in found.items() if key is not None}

    def _strategy(self, run: Any) -> str:
        content = json.loads(self.by_id("team_revision")[run["revision_id"]]["content"])
        process: str = content.get("team", {}).get("process") or self.by_id("team")[run["team_id"]]["process"]
        return process

    def _template(self, team_id: UUID) -> UUID | None:
        """Of the templates of its last generation, or of its making by hand, the first."""
        uses = [row for row in self.tables["template_use"] if row["team_id"] == team_id and row["task_id"] is None]
        moments = dict[UUID | None, datetime]()
        for row in uses:
            before = moments.get(row["generation_id"], row["created_at"])
            moments[row["generation_id"]] = max(before, row["created_at"])
        last = max(moments.values(), default=None)
        newest = [row for row in uses if moments[row["generation_id"]] == last]
        return min(newest, key=lambda row: (row["created_at"], row["id"]))["template_id"] if newest else None

    def _domains(self) -> dict[str, str]:
        shipped = {str(each.template.id): each.template.domain for each in shipped_templates()}
        return shipped | {str(row["id"]): row["domain"] for row in self.tables["template"]}


def _micros(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


# ---------------------------------------------------------------- counting


def check(found: Figures, facts: Sequence[Fact]) -> None:
    """The figures are exactly those of the facts, but for percentiles, which are near enough."""
    for subject in Subject:
        _check_tally(found.of(subject), [fact for fact in facts if fact.subject is subject])


def _check_tally(found: Tally, facts: Sequence[Fact]) -> None:
    for outcome in ("completed", "failed", "cancelled"):
        assert getattr(found, outcome) == sum(fact.outcome == outcome for fact in facts), outcome
    assert found.ended == len(facts)
    assert found.repeated == sum(fact.repeated for fact in facts)
    assert found.cost_amount == sum((fact.cost for fact in facts), Decimal(0))
    tokens = (found.prompt_tokens, found.completion_tokens, found.cached_tokens, found.reasoning_tokens)
    assert tokens == tuple(sum(fact.tokens[index] for fact in facts) for index in range(4))
    assert type(found.repeated) is type(found.prompt_tokens) is int
    _check_durations(found.durations, [fact.micros for fact in facts if fact.micros is not None])
    _check_durations(found.waits, [fact.wait for fact in facts if fact.wait is not None])


def _check_durations(found: Durations, exact: list[int]) -> None:
    assert (found.count, found.micros) == (len(exact), sum(exact))
    for share, seconds in ((0.5, found.p50_seconds), (0.95, found.p95_seconds), (0.99, found.p99_seconds)):
        if not exact:
            assert seconds is None
            continue
        wanted = sorted(exact)[math.ceil(share * len(exact)) - 1] / 1_000_000  # as percentile_disc does
        assert seconds is not None
        assert abs(seconds - wanted) <= max(TOLERANCE * wanted, MICROSECOND), (seconds, wanted)


# ---------------------------------------------------------------- the most

_OF: Mapping[Dimension, Subject] = {
    Dimension.ROLE: Subject.TASK,
    Dimension.TASK: Subject.TASK,
    Dimension.MODEL: Subject.CALL,
    Dimension.TOOL: Subject.TOOL_CALL,
}


def most(facts: Sequence[Fact], dimension: Dimension, order: GroupOrder, first: int) -> list[str]:
    """The keys that have the most, the most first, equals by key."""
    keys = {fact.places[dimension] for fact in facts if dimension in fact.places}
    amount = _amounts(_OF.get(dimension, Subject.EXECUTION))[order]
    amounts = {key: amount([fact for fact in facts if fact.places.get(dimension) == key]) for key in keys}
    return sorted((key for key in keys if amounts[key] > 0), key=lambda key: (-amounts[key], key))[:first]


def _amounts(subject: Subject) -> Mapping[GroupOrder, Callable[[Sequence[Fact]], Fraction]]:
    def of(facts: Sequence[Fact]) -> list[Fact]:
        return [fact for fact in facts if fact.subject is subject]

    def mean(facts: Sequence[Fact]) -> Fraction:
        durations = [fact.micros for fact in of(facts) if fact.micros is not None]
        return Fraction(sum(durations), len(durations)) if durations else Fraction(0)

    return {
        GroupOrder.COST: lambda facts: sum((Fraction(fact.cost) for fact in facts), Fraction(0)),
        GroupOrder.FAILURES: lambda facts: Fraction(sum(fact.outcome == "failed" for fact in of(facts))),
        GroupOrder.COUNT: lambda facts: Fraction(len(of(facts))),
        GroupOrder.DURATION: mean,
    }
