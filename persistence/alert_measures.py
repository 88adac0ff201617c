"""What the metrics of alert rules were at past moments, from the facts themselves: one statement per rule.

All take the same parameters: $1 tenant, $2 moments in ascending order, $3 the window in seconds, $4 the value at which
it is good again, $5 the project or team, NULL for the tenant. A window is half open: what happened at its moment is in
the next one. Conditions of partial indexes are written out: a parameter in them would match none in a generic plan.
"""

from typing import Final

from domain.model.alert import AlertMetric, AlertRule
from persistence.mapping import remembered

_GIVEN: Final = """
    given AS (SELECT $1::uuid AS tenant_id, $3::float8 AS seconds, $4::numeric AS bar, $5::uuid AS scope_id),
    at AS MATERIALIZED (
        SELECT moment, place::integer AS place, moment - make_interval(secs => $3) AS since
        FROM unnest($2::timestamptz[]) WITH ORDINALITY AS each(moment, place)
    )
"""
_IS_KEPT: Final = "finished_at IS NOT NULL AND emptied_at IS NULL"
_IS_OPEN: Final = "status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"
_FIRST: Final = "($2::timestamptz[])[1]"
_LAST: Final = "($2::timestamptz[])[cardinality($2::timestamptz[])]"

MOST_SHARE: Final = 1_000_000
"""A greater part of a budget is told as this: of a limit of next to nothing it has more digits than its column."""

SCOPES: Final = ("TENANT", "PROJECT", "TEAM")


def scope_of(rule: AlertRule) -> str:
    """Whose facts the rule looks at, as one of `SCOPES`."""
    if rule.team_id is not None:
        return "TEAM"
    return "TENANT" if rule.project_id is None else "PROJECT"


@remembered
def measuring(metric: AlertMetric, scope: str) -> str:
    """The statement that gives moment, value (NULL without data) and samples, in the order of the moments."""
    return _MEASURES[metric](scope)


def within(scope: str, table: str) -> str:
    """The condition that a row of this table belongs to the scope."""
    column = {"TENANT": "", "PROJECT": "project_id", "TEAM": "team_id"}[scope]
    return f" AND {table}.{column} = $5" if column else ""


def spent_in(scope: str, condition: str, columns: str) -> str:
    """The ledger entries of the scope: of a whole tenant through its projects, for that there is an index."""
    entries = f"SELECT {columns} FROM ledger_entry AS entry WHERE entry.tenant_id = $1 AND {condition}"  # noqa: S608 - our own text, as all here
    if scope != "TENANT":
        return entries + within(scope, "entry")
    return (
        f"SELECT its.* FROM project CROSS JOIN LATERAL ({entries} AND entry.project_id = project.id) AS its"  # noqa: S608
        " WHERE project.tenant_id = $1"
    )


def long_ones(scope: str) -> str:
    """The executions that were under way, and long, some time from the first moment to the last.

    From when they would have begun had they never waited (`base`), to when they ended; from `held` on one waits, and is
    as long as it was then: it is one long execution, not another one after each wait.
    """
    return f"""
        SELECT id, team_id, started_at, started_at + make_interval(secs => waited_seconds) AS base,
            waiting_from AS held, NULL::timestamptz AS until
        FROM execution
        WHERE tenant_id = $1{within(scope, "execution")} AND {_IS_OPEN} AND started_at < {_LAST}
        UNION ALL
        SELECT id, team_id, started_at, started_at + make_interval(secs => waited_seconds), waiting_from, finished_at
        FROM execution
        WHERE tenant_id = $1{within(scope, "execution")} AND {_IS_KEPT} AND finished_at >= {_FIRST}
            AND started_at < {_LAST} AND finished_at - started_at > make_interval(secs => $4::float8)
    """  # noqa: S608


LONG_SECONDS: Final = "extract(epoch FROM least(at.moment, long.held) - long.base)"
"""How long one of `long_ones` had worked at a moment."""


def waits(scope: str) -> str:
    """From when until when executions waited for a place, as far as that reaches behind the first moment.

    One that waits again, after a pause or the loss of its worker, is known for as long as it does. One that was paused
    before it began is left out once it has: nothing says for how long it was people that it waited for. Only what
    waited at one of the moments is looked up.
    """
    crosses = """
        CASE WHEN width_bucket(created_at, $2::timestamptz[])
            = width_bucket(coalesce(started_at, finished_at), $2::timestamptz[]) THEN false
        ELSE (started_at IS NOT NULL OR waited_seconds = 0) AND NOT EXISTS (
            SELECT FROM execution_event AS told
            WHERE told.tenant_id = $1 AND told.execution_id = execution.id AND told.type = 'ExecutionPaused'
                AND told.occurred_at < coalesce(execution.started_at, execution.finished_at)
        ) END
    """
    return f"""
        SELECT execution_id AS id, team_id, waiting_since AS since, 'infinity'::timestamptz AS until FROM admission
        WHERE tenant_id = $1{within(scope, "admission")} AND worker_id IS NULL
        UNION ALL
        SELECT id, team_id, created_at, started_at FROM execution
        WHERE tenant_id = $1{within(scope, "execution")} AND {_IS_OPEN} AND started_at >= {_FIRST}
            AND created_at < {_LAST} AND {crosses}
        UNION ALL
        SELECT id, team_id, created_at, coalesce(started_at, finished_at) FROM execution
        WHERE tenant_id = $1{within(scope, "execution")} AND {_IS_KEPT} AND finished_at >= {_FIRST}
            AND coalesce(started_at, finished_at) >= {_FIRST} AND created_at < {_LAST} AND {crosses}
    """  # noqa: S608


def shares(scope: str) -> str:
    """WITH-queries: `share` has what part of which budget was spent at which moment.

    The accounts know the present. What was booked since a moment is taken off: sums of it by the moments between
    which it was.
    """
    of_project = {"TENANT": "", "PROJECT": " AND id = $5", "TEAM": " AND false"}[scope]
    of_team = {"TENANT": "", "PROJECT": " AND project_id = $5", "TEAM": " AND id = $5"}[scope]
    of_tenant = "" if scope == "TENANT" else " AND false"
    since = spent_in(scope, f"entry.booked_at >= {_FIRST}", "booked_at, period, project_id, team_id, cost")
    return f"""
        budget AS MATERIALIZED (
            SELECT 0 AS scope, id, NULL::uuid AS project_id, NULL::uuid AS team_id, name, monthly_budget AS most
            FROM tenant WHERE id = $1 AND monthly_budget > 0{of_tenant}
            UNION ALL
            SELECT 1, id, id, NULL, name, monthly_budget FROM project
            WHERE tenant_id = $1 AND monthly_budget > 0 AND archived_at IS NULL{of_project}
            UNION ALL
            SELECT 2, id, project_id, id, name, monthly_budget FROM team
            WHERE tenant_id = $1 AND monthly_budget > 0 AND archived_at IS NULL{of_team}
        ),
        since AS MATERIALIZED (
            SELECT width_bucket(booked_at, $2::timestamptz[]) AS place, period, project_id, team_id, sum(cost) AS cost
            FROM ({since}) AS entry GROUP BY 1, 2, 3, 4
        ),
        later AS (
            SELECT moment, scope, id, period, sum(cost) OVER (
                PARTITION BY scope, id, period ORDER BY place DESC
            ) AS cost
            FROM (
                SELECT at.moment, budget.scope, budget.id, at.place, 0 AS cost,
                    date_trunc('month', at.moment AT TIME ZONE 'UTC')::date AS period
                FROM at CROSS JOIN budget
                UNION ALL
                SELECT NULL, budget.scope, budget.id, since.place, since.cost, since.period
                FROM since
                CROSS JOIN LATERAL (VALUES (0, $1::uuid), (1, since.project_id), (2, since.team_id)) AS its(scope, id)
                JOIN budget ON budget.scope = its.scope AND budget.id = its.id
            ) AS booked
        ),
        share AS (
            SELECT later.moment, budget.*,
                least({MOST_SHARE}, coalesce(account.spent - later.cost, 0) / budget.most) AS part
            FROM later JOIN budget ON budget.scope = later.scope AND budget.id = later.id
            LEFT JOIN budget_account AS account ON account.tenant_id = $1 AND account.scope = later.scope
                AND account.scope_id = later.id AND account.period = later.period
            WHERE later.moment IS NOT NULL
        )
    """  # noqa: S608


def _longest(scope: str) -> str:
    worked = "extract(epoch FROM least(finished_at, waiting_from) - started_at) - waited_seconds::numeric"
    return f"""
        WITH {_GIVEN}, long AS MATERIALIZED ({long_ones(scope)})
        SELECT at.moment, greatest(ended.longest, running.longest), ended.samples + running.samples
        FROM at
        CROSS JOIN LATERAL (
            SELECT max({worked}) AS longest, count(*) AS samples FROM execution
            WHERE tenant_id = $1{within(scope, "execution")} AND {_IS_KEPT} AND started_at IS NOT NULL
                AND finished_at >= at.since AND finished_at < at.moment
        ) AS ended
        CROSS JOIN LATERAL (
            SELECT max({LONG_SECONDS}) AS longest, count(*) AS samples FROM long
            WHERE long.started_at < at.moment AND (long.until IS NULL OR long.until >= at.moment)
                AND {LONG_SECONDS} > $4
        ) AS running
        ORDER BY at.moment
    """  # noqa: S608


def _failures(scope: str) -> str:
    return f"""
        WITH {_GIVEN}
        SELECT at.moment, found.failed::numeric / nullif(found.samples, 0), found.samples
        FROM at CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE status = 'FAILED') AS failed, count(*) AS samples FROM execution
            WHERE tenant_id = $1{within(scope, "execution")} AND {_IS_KEPT}
                AND status IN ('COMPLETED', 'FAILED') AND finished_at >= at.since AND finished_at < at.moment
        ) AS found
        ORDER BY at.moment
    """  # noqa: S608


def ended_tasks(scope: str, since: str, moment: str) -> str:
    """The tasks that ended in the window; of a project or a team the window first, then whose each was by its key."""
    tasks = f"""
        SELECT task.id, task.execution_id, task.name, task.status, task.failure_code, task.finished_at
        FROM task_execution AS task
        WHERE task.tenant_id = $1 AND task.status IN ('COMPLETED', 'FAILED') AND task.finished_at >= {since}
            AND task.finished_at < {moment}
    """  # noqa: S608
    if scope == "TENANT":
        return tasks
    return f"""
        WITH task AS MATERIALIZED ({tasks})
        SELECT task.* FROM task CROSS JOIN LATERAL (
            SELECT FROM execution
            WHERE execution.tenant_id = $1 AND execution.id = task.execution_id{within(scope, "execution")} OFFSET 0
        ) AS execution
    """  # noqa: S608


def _task_failures(scope: str) -> str:
    return f"""
        WITH {_GIVEN}
        SELECT at.moment, found.failed::numeric / nullif(found.samples, 0), found.samples
        FROM at CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE task.status = 'FAILED') AS failed, count(*) AS samples
            FROM ({ended_tasks(scope, "at.since", "at.moment")}) AS task
        ) AS found
        ORDER BY at.moment
    """  # noqa: S608


def _spending(scope: str) -> str:
    entries = spent_in(scope, "entry.booked_at >= at.since AND entry.booked_at < at.moment", "cost")
    return f"""
        WITH {_GIVEN}
        SELECT at.moment, coalesce(found.cost, 0), found.samples
        FROM at CROSS JOIN LATERAL (
            SELECT sum(entry.cost) AS cost, count(*) AS samples FROM ({entries}) AS entry
        ) AS found
        ORDER BY at.moment
    """  # noqa: S608


def _highest_share(scope: str) -> str:
    return f"""
        WITH {_GIVEN}, {shares(scope)}
        SELECT at.moment, max(share.part), count(share.part)
        FROM at LEFT JOIN share USING (moment) GROUP BY at.moment ORDER BY at.moment
    """  # noqa: S608


def _waiting(scope: str, value: str) -> str:
    # Waits that are over before the next moment comes are in no group: nearly all of them.
    return f"""
        WITH {_GIVEN}, wait AS ({waits(scope)}),
        crossing AS MATERIALIZED (
            SELECT width_bucket(since, $2::timestamptz[]) AS before, width_bucket(until, $2::timestamptz[]) AS last,
                count(*) AS waiting, min(since) AS oldest
            FROM wait GROUP BY 1, 2
        )
        SELECT at.moment, {value}, 1
        FROM at LEFT JOIN crossing ON crossing.before < at.place AND at.place <= crossing.last
        GROUP BY at.moment ORDER BY at.moment
    """  # noqa: S608


def _depth(scope: str) -> str:
    return _waiting(scope, "coalesce(sum(crossing.waiting), 0)")


def _oldest_wait(scope: str) -> str:
    return _waiting(scope, "coalesce(extract(epoch FROM at.moment - min(crossing.oldest)), 0)")


def _losses(_scope: str) -> str:
    """Of the whole deployment: workers are nobody's."""
    return f"""
        WITH {_GIVEN}
        SELECT at.moment, (
            SELECT count(*)::numeric FROM worker_loss WHERE lost_at >= at.since AND lost_at < at.moment
        ), 1
        FROM at ORDER BY at.moment
    """  # noqa: S608


_MEASURES: Final = {
    AlertMetric.EXECUTION_SECONDS: _longest,
    AlertMetric.FAILURE_RATE: _failures,
    AlertMetric.TASK_FAILURE_RATE: _task_failures,
    AlertMetric.SPEND: _spending,
    AlertMetric.BUDGET_SHARE: _highest_share,
    AlertMetric.QUEUE_DEPTH: _depth,
    AlertMetric.QUEUE_WAIT_SECONDS: _oldest_wait,
    AlertMetric.WORKERS_LOST: _losses,
}

GIVEN: Final = _GIVEN
IS_KEPT: Final = _IS_KEPT
