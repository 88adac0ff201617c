"""What speaks for the value of an alert's metric at one moment: the few facts that weigh most, as sentences."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from domain.model.alert import AlertMetric, Evidence, Unit
from persistence.alert_measures import (
    GIVEN,
    IS_KEPT,
    LONG_SECONDS,
    ended_tasks,
    long_ones,
    shares,
    spent_in,
    waits,
    within,
)
from persistence.mapping import remembered

MOST: Final = 5

# Written out, not joined: only so does an index give the window, and the planner know how little that is.
_MOMENT: Final = "($2::timestamptz[])[1]"
_SINCE: Final = f"({_MOMENT} - make_interval(secs => $3::float8))"
_IN_WINDOW: Final = f"finished_at >= {_SINCE} AND finished_at < {_MOMENT}"


@remembered
def finding(metric: AlertMetric, scope: str) -> str:
    """The statement that gives, for one moment, rows that `sentence_of` makes evidence of, the weightiest first."""
    return f"{_FINDINGS[metric](scope)} LIMIT {MOST}"


def evidence_of(metric: AlertMetric, row: Mapping[str, Any]) -> Evidence:
    """A row of `finding` in words."""
    label, amount = row["label"], row["amount"]
    return Evidence(
        _SENTENCES[metric](label, amount, row),
        row["execution_id"],
        row["team_id"],
        row["project_id"],
        is_running=bool(row["is_running"]),
        limit_amount=row["most"],
    )


def _columns(**given: str) -> str:
    names = {
        "label": "NULL::text",
        "amount": "NULL::numeric",
        "execution_id": "NULL::uuid",
        "team_id": "NULL::uuid",
        "project_id": "NULL::uuid",
        "is_running": "false",
        "most": "NULL::numeric",
        **given,
    }
    return ", ".join(f"{value} AS {name}" for name, value in names.items())


_TEAM: Final = "LEFT JOIN team ON team.tenant_id = $1 AND team.id = found.team_id"


def _long(scope: str) -> str:
    columns = _columns(
        label="team.name",
        amount="found.seconds",
        execution_id="found.id",
        team_id="found.team_id",
        is_running="found.is_running",
    )
    worked = "extract(epoch FROM least(finished_at, waiting_from) - started_at) - waited_seconds::numeric"
    return f"""
        WITH {GIVEN}, long AS ({long_ones(scope)}),
        found AS (
            SELECT id, team_id, {worked} AS seconds, false AS is_running FROM execution
            WHERE tenant_id = $1{within(scope, "execution")} AND {IS_KEPT} AND started_at IS NOT NULL AND {_IN_WINDOW}
            UNION ALL
            SELECT id, team_id, {LONG_SECONDS}, true FROM at, long
            WHERE long.started_at < at.moment AND (long.until IS NULL OR long.until >= at.moment)
        )
        SELECT {columns} FROM found {_TEAM} WHERE found.seconds > $4 ORDER BY found.seconds DESC, found.id
    """  # noqa: S608 - our own text, as all here


def _failed(scope: str) -> str:
    columns = _columns(label="team.name", execution_id="found.id", team_id="found.team_id")
    return f"""
        WITH {GIVEN}, found AS (
            SELECT id, team_id, failure_code, finished_at FROM execution
            WHERE tenant_id = $1{within(scope, "execution")} AND {IS_KEPT} AND status = 'FAILED' AND {_IN_WINDOW}
        )
        SELECT {columns}, found.failure_code FROM found {_TEAM} ORDER BY found.finished_at DESC, found.id
    """  # noqa: S608


def _failed_tasks(scope: str) -> str:
    columns = _columns(label="found.name", execution_id="found.execution_id", team_id="execution.team_id")
    return f"""
        WITH {GIVEN}, found AS (
            SELECT its.* FROM ({ended_tasks(scope, _SINCE, _MOMENT)}) AS its WHERE its.status = 'FAILED'
        )
        SELECT {columns}, found.failure_code FROM found
        JOIN execution ON execution.tenant_id = $1 AND execution.id = found.execution_id
        ORDER BY found.finished_at DESC, found.id
    """  # noqa: S608


def _dear(scope: str) -> str:
    columns = _columns(label="team.name", amount="found.cost", team_id="found.team_id")
    entries = spent_in(scope, f"entry.booked_at >= {_SINCE} AND entry.booked_at < {_MOMENT}", "team_id, cost")
    return f"""
        WITH {GIVEN}, found AS (
            SELECT entry.team_id, sum(entry.cost) AS cost FROM ({entries}) AS entry GROUP BY entry.team_id
        )
        SELECT {columns} FROM found {_TEAM} ORDER BY found.cost DESC, found.team_id
    """  # noqa: S608


def _spent(scope: str) -> str:
    columns = _columns(
        label="share.name", amount="share.part", team_id="share.team_id", project_id="share.project_id", most="most"
    )
    return f"""
        WITH {GIVEN}, {shares(scope)}
        SELECT {columns} FROM share WHERE share.part > $4 ORDER BY share.part DESC, share.scope, share.id
    """  # noqa: S608


def _waiting(scope: str) -> str:
    columns = _columns(
        label="team.name",
        amount="extract(epoch FROM at.moment - found.since)",
        execution_id="found.id",
        team_id="found.team_id",
    )
    return f"""
        WITH {GIVEN}, found AS ({waits(scope)})
        SELECT {columns} FROM at JOIN found ON found.since < at.moment AND found.until >= at.moment {_TEAM}
        ORDER BY found.since, found.id
    """  # noqa: S608


def _lost(_scope: str) -> str:
    return f"""
        WITH {GIVEN}
        SELECT {_columns(label="worker_loss.worker_id")} FROM worker_loss
        WHERE worker_loss.lost_at >= {_SINCE} AND worker_loss.lost_at < {_MOMENT}
        ORDER BY worker_loss.lost_at DESC, worker_loss.worker_id
    """  # noqa: S608


_FINDINGS: Final = {
    AlertMetric.EXECUTION_SECONDS: _long,
    AlertMetric.FAILURE_RATE: _failed,
    AlertMetric.TASK_FAILURE_RATE: _failed_tasks,
    AlertMetric.SPEND: _dear,
    AlertMetric.BUDGET_SHARE: _spent,
    AlertMetric.QUEUE_DEPTH: _waiting,
    AlertMetric.QUEUE_WAIT_SECONDS: _waiting,
    AlertMetric.WORKERS_LOST: _lost,
}


def _of_seconds(label: str, amount: Decimal, row: Mapping[str, Any]) -> str:
    so_far = " so far" if row["is_running"] else ""
    return f"An execution of “{label}”: {Unit.SECONDS.told(amount)}{so_far}."


def _of_failure(label: str, _amount: None, row: Mapping[str, Any]) -> str:
    return f"An execution of “{label}” failed: {row['failure_code']}."


def _of_task(label: str, _amount: None, row: Mapping[str, Any]) -> str:
    return f"The task “{label}” failed: {row['failure_code']}."


def _of_cost(label: str | None, amount: Decimal, _row: Mapping[str, Any]) -> str:
    whose = "Generations" if label is None else f"The team “{label}”"
    return f"{whose}: {Unit.DOLLARS.told(amount)}."


def _of_budget(label: str, amount: Decimal, row: Mapping[str, Any]) -> str:
    whose = "team" if row["team_id"] else "project" if row["project_id"] else "tenant"
    limit = Unit.DOLLARS.told(row["most"])
    return f"The {whose} “{label}”: {Unit.SHARE.told(amount)} of {limit} are spent."


def _of_wait(label: str, amount: Decimal, _row: Mapping[str, Any]) -> str:
    return f"An execution of “{label}” had waited {Unit.SECONDS.told(amount)}."


def _of_worker(label: str, _amount: None, _row: Mapping[str, Any]) -> str:
    return f"The worker {label} fell silent."


_SENTENCES: Final[Mapping[AlertMetric, Any]] = {
    AlertMetric.EXECUTION_SECONDS: _of_seconds,
    AlertMetric.FAILURE_RATE: _of_failure,
    AlertMetric.TASK_FAILURE_RATE: _of_task,
    AlertMetric.SPEND: _of_cost,
    AlertMetric.BUDGET_SHARE: _of_budget,
    AlertMetric.QUEUE_DEPTH: _of_wait,
    AlertMetric.QUEUE_WAIT_SECONDS: _of_wait,
    AlertMetric.WORKERS_LOST: _of_worker,
}
