"""What ended, as rows that can be summed up: each once for everything that metrics are told of.

The roll-up adds these rows to its table, and whoever reads adds those to its sums that are not rolled up yet: both say
it with the same words, so that a figure is the same before and after.
"""

from typing import Final

from domain.model.metrics import GROWTH
from persistence.origins import last_use

NOWHERE: Final = "00000000-0000-0000-0000-000000000000"
"""The project or team of what belongs to none: a key has no nulls."""

SHIFT: Final = 40
"""A histogram is an array of whole numbers: the bucket above these bits, how many are in it below them."""

SUMS: Final = (
    "completed",
    "failed",
    "cancelled",
    "repeated",
    "micros",
    "wait_micros",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost",
)
"""The columns that are added up."""


def _micros(later: str, earlier: str) -> str:
    return f"(extract(epoch FROM {later} - {earlier}) * 1000000)::bigint"


def _bucketed(micros: str) -> str:
    """One duration as an element of a histogram; the buckets of `domain.model.metrics.bucket_of`."""
    bucket = f"CASE WHEN {micros} <= 0 THEN 0 ELSE ceil(ln({micros}::float8) / ln({GROWTH!r}::float8)) END"
    return f"(({bucket})::bigint << {SHIFT}) | 1"


# Whoever cancels may decide what is open a moment after the task has ended: until then it was waited for.
_ASKED_UNTIL: Final = "least(coalesce(asked.decided_at, each.finished_at), each.finished_at)"

# Each kind names what it has; the rest is nothing.
_HAPPENED: Final = f"""
    SELECT pending.tenant_id, 'EXECUTION' AS subject, pending.at, each.id AS execution_id, each.project_id,
        each.team_id, NULL::uuid AS role_id, NULL::uuid AS task_id, NULL::text AS model, NULL::text AS tool,
        CASE each.status WHEN 'COMPLETED' THEN 1 WHEN 'FAILED' THEN 2 ELSE 3 END AS outcome,
        (each.cached_from IS NOT NULL)::int AS repeated,
        CASE WHEN each.cached_from IS NULL AND each.started_at IS NOT NULL THEN greatest(0,
            {_micros("each.finished_at", "each.started_at")} - round(each.waited_seconds * 1000000)::bigint
        ) END AS micros,
        CASE WHEN each.cached_from IS NULL THEN {_micros("each.started_at", "each.created_at")} END AS wait_micros,
        0::bigint AS prompt_tokens, 0::bigint AS completion_tokens, 0::bigint AS cached_tokens,
        0::bigint AS reasoning_tokens, 0::numeric AS cost
    FROM pending JOIN execution AS each ON each.tenant_id = pending.tenant_id AND each.id = pending.subject_id
    WHERE pending.subject = 'EXECUTION'
    UNION ALL
    SELECT pending.tenant_id, 'TASK', pending.at, each.execution_id, run.project_id, run.team_id, each.role_id,
        each.task_id, each.model, NULL, CASE each.status WHEN 'COMPLETED' THEN 1 WHEN 'FAILED' THEN 2 ELSE 3 END,
        greatest(0, each.attempts - 1),
        greatest(0, {_micros("each.finished_at", "each.started_at")} - coalesce((
            SELECT sum({_micros(_ASKED_UNTIL, "asked.created_at")})::bigint
            FROM approval AS asked WHERE asked.tenant_id = each.tenant_id AND asked.task_execution_id = each.id
                AND asked.created_at < each.finished_at
        ), 0)),
        NULL, 0, 0, 0, 0, 0
    FROM pending JOIN task_execution AS each ON each.tenant_id = pending.tenant_id AND each.id = pending.subject_id
    JOIN execution AS run ON run.tenant_id = each.tenant_id AND run.id = each.execution_id
    WHERE pending.subject = 'TASK'
    UNION ALL
    SELECT pending.tenant_id, 'CALL', pending.at, each.execution_id, each.project_id, each.team_id, each.role_id,
        done.task_id, each.model, NULL, CASE each.outcome WHEN 'SUCCEEDED' THEN 1 WHEN 'CANCELLED' THEN 3 ELSE 2 END,
        (each.call_attempt > 1)::int, round(each.latency_seconds * 1000000)::bigint, NULL,
        each.prompt_tokens, each.completion_tokens, each.cached_tokens, each.reasoning_tokens, each.cost
    FROM pending JOIN ledger_entry AS each ON each.tenant_id = pending.tenant_id AND each.id = pending.subject_id
        AND each.booked_at = pending.at
    LEFT JOIN task_execution AS done ON done.tenant_id = each.tenant_id AND done.id = each.task_execution_id
    WHERE pending.subject = 'CALL'
    UNION ALL
    SELECT pending.tenant_id, 'TOOL_CALL', pending.at, run.id, run.project_id, run.team_id, pending.role_id,
        done.task_id, NULL, pending.tool, CASE WHEN pending.is_error THEN 2 ELSE 1 END, 0, NULL, NULL, 0, 0, 0, 0, 0
    FROM pending JOIN execution AS run ON run.tenant_id = pending.tenant_id AND run.id = pending.subject_id
    LEFT JOIN task_execution AS done
        ON done.tenant_id = pending.tenant_id AND done.id = pending.task_execution_id
    WHERE pending.subject = 'TOOL_CALL'
"""  # noqa: S608 - constants

# The strategy is that of the revision that ran; the template is the origin of the team.
_KNOWN: Final = f"""
    SELECT ran.tenant_id, ran.id,
        coalesce(revision.process, (
            SELECT process FROM team WHERE team.tenant_id = ran.tenant_id AND team.id = ran.team_id
        )) AS strategy, (
            SELECT used.template_id::text FROM ({last_use("ran.tenant_id", "ran.team_id")}) AS used
        ) AS template
    FROM ran LEFT JOIN revision ON revision.tenant_id = ran.tenant_id AND revision.id = ran.revision_id
"""  # noqa: S608 - constants


def facts(source: str) -> str:
    """CTEs, the last of them `fact`: a row for each thing that metrics are told of and each row of `metric_pending`.

    `source` selects the latter. Columns: tenant_id, dimension, key, project_id, team_id, at, subject, SUMS, and as
    elements of histograms duration and wait, null where there is none.
    """
    return f"""
    pending AS MATERIALIZED ({source}),
    happened AS MATERIALIZED ({_HAPPENED}),
    ran AS MATERIALIZED (
        SELECT tenant_id, id, team_id, revision_id FROM execution
        WHERE (tenant_id, id) IN (SELECT tenant_id, execution_id FROM happened WHERE execution_id IS NOT NULL)
    ),
    revision AS MATERIALIZED (
        SELECT tenant_id, id, content::json #>> '{{team,process}}' AS process FROM team_revision
        WHERE (tenant_id, id) IN (SELECT tenant_id, revision_id FROM ran)
    ),
    known AS MATERIALIZED ({_KNOWN}),
    fact AS (
        SELECT happened.tenant_id, place.dimension, place.key, coalesce(place.project_id, '{NOWHERE}') AS project_id,
            coalesce(place.team_id, '{NOWHERE}') AS team_id, happened.at, happened.subject,
            (outcome = 1)::int AS completed, (outcome = 2)::int AS failed, (outcome = 3)::int AS cancelled,
            repeated, coalesce(micros, 0) AS micros, coalesce(wait_micros, 0) AS wait_micros, prompt_tokens,
            completion_tokens, cached_tokens, reasoning_tokens, cost,
            CASE WHEN micros IS NOT NULL THEN {_bucketed("micros")} END AS duration,
            CASE WHEN wait_micros IS NOT NULL THEN {_bucketed("wait_micros")} END AS wait
        FROM happened
        LEFT JOIN known ON known.tenant_id = happened.tenant_id AND known.id = happened.execution_id
        CROSS JOIN LATERAL (VALUES
            ('TENANT', '', NULL::uuid, NULL::uuid),
            ('PROJECT', happened.project_id::text, happened.project_id, NULL),
            ('TEAM', happened.team_id::text, happened.project_id, happened.team_id),
            ('ROLE', happened.role_id::text, happened.project_id, happened.team_id),
            ('TASK', happened.task_id::text, happened.project_id, happened.team_id),
            ('MODEL', happened.model, happened.project_id, happened.team_id),
            ('TOOL', happened.tool, happened.project_id, happened.team_id),
            ('STRATEGY', known.strategy, happened.project_id, happened.team_id),
            ('TEMPLATE', known.template, happened.project_id, happened.team_id)
        ) AS place (dimension, key, project_id, team_id)
        WHERE place.key IS NOT NULL
    )
    """  # noqa: S608 - constants
